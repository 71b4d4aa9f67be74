"""`xcomp search` against a canned indexer: output, page, images in the terminal."""

import json
import resource
from base64 import standard_b64decode
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.cli.fake_servers import JPEG, FakeIndexer
from xcomp_cli.main import run
from xcomp_cli.output import console, inline_images
from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb


@pytest.fixture
def indexer(indexer: FakeIndexer) -> FakeIndexer:
    image = common.Image(id="id-1", repository="default", path="/p/<b>\x1b]0;owned\x07.jpg", width=640, height=480)
    image.metadata.update({"title": "Harbour <script>", "rating": 4})
    image.labels.add(en="dock", zh="码头", probability=0.62)
    spaces = {"en": common.SpaceScore(rank=1, score=0.41)}
    indexer.hits = [common.Hit(image=image, rank=1, score=0.41, spaces=spaces, confidence=0.9)]
    return indexer


def asked(indexer: FakeIndexer) -> pb.SearchRequest:
    request = indexer.requests[0]
    assert isinstance(request, pb.SearchRequest)
    return request


def test_json_has_the_contract_keys(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "harbour", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["query"], value["language"], value["spaces"], value["seconds"]) == ("harbour", "en", ["en"], 0.25)
    hit = value["hits"][0]
    assert (hit["rank"], hit["id"], hit["score"], hit["width"], hit["height"]) == (1, "id-1", 0.41, 640, 480)
    assert hit["path"] == "/p/<b>\x1b]0;owned\x07.jpg"
    assert hit["metadata"] == {"title": "Harbour <script>", "rating": 4}
    assert hit["spaces"] == {"en": {"rank": 1, "score": 0.41}}


def test_request_carries_the_flags(indexer: FakeIndexer) -> None:
    flags = ["-k", "3", "--lang", "zh", "--where", "tag=sea", "--where", "width>=9", "--diverse", "0.5", "--repo", "r"]
    assert run(["search", "海", *flags]) == 0
    request = asked(indexer)
    assert request.queries[0].parts[0].text == "海"
    assert (request.k, request.language, request.repository) == (3, common.LANGUAGE_ZH, "r")
    assert list(request.where) == ["tag=sea", "width>=9"]
    assert request.diversity == 0.5


def test_text_and_image_make_one_query(indexer: FakeIndexer, tmp_path: Path) -> None:
    (tmp_path / "like.jpg").write_bytes(JPEG)
    assert run(["search", "red", "--image", str(tmp_path / "like.jpg")]) == 0
    parts = asked(indexer).queries[0].parts
    assert [part.WhichOneof("content") for part in parts] == ["text", "image"]
    assert parts[1].image == JPEG


def test_what_an_image_should_not_be_counts_negatively(indexer: FakeIndexer, tmp_path: Path) -> None:
    file = tmp_path / "like.jpg"
    file.write_bytes(JPEG)
    flags = ["--not", "boat", "--not", "fog", "--not-image", str(file), "--image", str(file), "--image-weight", "2"]
    assert run(["search", "harbour", *flags, "--not-weight", "0.25"]) == 0
    parts = asked(indexer).queries[0].parts
    assert [(part.WhichOneof("content"), part.weight) for part in parts[1:]] == [
        ("image", 2), ("text", -0.25), ("text", -0.25), ("image", -0.25),
    ]  # fmt: skip
    assert parts[0].text == "harbour"


def test_request_carries_what_is_to_be_left_out(indexer: FakeIndexer) -> None:
    flags = ["--collapse", "0.98", "--min-confidence", "0.7", "--space-weight", "en=2", "--space-weight", "zh=0"]
    assert run(["search", "harbour", *flags]) == 0
    request = asked(indexer)
    assert (request.collapse, request.min_confidence) == (0.98, 0.7)
    assert dict(request.space_weights) == {"en": 2.0, "zh": 0.0}


def test_nothing_fits_is_an_answer(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    indexer.hits = []
    indexer.best_confidence = 0.41
    assert run(["search", "harbour", "--min-confidence", "0.9"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing fits: the best image has confidence 0.41" in said.err


def holds(indexer: FakeIndexer, images: int, *languages: str) -> None:
    """The repository `default` with so many images and one space of these languages."""
    indexer.repositories = [pb.Repository(name="default", images=images)]
    indexer.repositories[0].spaces.add(name="s", languages=languages)


@pytest.mark.parametrize(("images", "flags", "reason"), [
    (0, [], "the repository default is empty: xcomp index FOLDER fills it"),
    (5, ["--where", "tag=sea"], "--where matches none of 5 images, or those are restricted: --allow-restricted shows"),
    (5, ["--where", "tag=sea", "--allow-restricted"], "--where matches none of 5 images\n"),
    (5, [], "all of 5 images are restricted"),
])  # fmt: skip
def test_an_empty_result_says_what_left_nothing(
    indexer: FakeIndexer, images: int, flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    indexer.hits = []
    holds(indexer, images, "en")
    assert run(["search", "harbour", *flags]) == 0
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(("query", "languages", "told"), [
    ("赤いバイク", ["en", "zh"], "Japanese, and this repository understands Chinese and English"),
    ("красный мотоцикл", ["en", "zh"], "Russian or a relative"),
    ("红色的摩托车", ["en"], "Chinese, and this repository understands English"),
    ("红色的摩托车", ["en", "zh"], ""),
    ("a café", ["en", "zh"], ""),
    ("café", ["zh"], "English"),
    ("…", ["en"], ""),
    ("☃", [], ""),
])  # fmt: skip
def test_a_query_in_a_language_that_no_space_knows_is_told(
    indexer: FakeIndexer, query: str, languages: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    holds(indexer, 5, *languages)
    assert run(["search", query]) == 0
    said = capsys.readouterr()
    assert said.out
    assert (told in said.err) if told else (said.err == "")


def test_paths_alone_are_printed_for_other_programs(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "harbour", "-l"]) == 0
    assert capsys.readouterr().out == "/p/<b>\\x1b]0;owned\\x07.jpg\n"
    assert run(["search", "harbour", "-0"]) == 0
    assert capsys.readouterr().out == "/p/<b>\x1b]0;owned\x07.jpg\0"


def test_without_a_query_the_images_are_listed(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    indexer.images = [common.Image(id="1", path="/p/a.jpg"), common.Image(id="2", path="/p/b.jpg")]
    assert run(["search", "--where", "tag=sea", "--k", "2", "-l"]) == 0
    assert capsys.readouterr().out == "/p/a.jpg\n/p/b.jpg\n"
    request = indexer.requests[0]
    assert isinstance(request, pb.ListRequest)
    assert (list(request.where), request.page_size) == (["tag=sea"], 2)


def test_open_needs_a_file_of_this_machine(
    indexer: FakeIndexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []

    def launch(target: str) -> int:
        opened.append(target)
        return 0

    monkeypatch.setattr("typer.launch", launch)
    assert run(["search", "harbour", "--open"]) == 1
    assert "is not on this machine" in capsys.readouterr().err
    assert run(["search", "harbour", "--open", "--html", str(tmp_path / "page.html")]) == 0
    assert opened == [str(tmp_path / "page.html")]


def test_names_on_a_terminal_are_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    linked = console.link("a b", str(tmp_path / "a b.jpg"))
    assert linked.startswith("\x1b]8;;file://")
    assert linked.endswith("/a%20b.jpg\x1b\\a b\x1b]8;;\x1b\\")
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.link("a b", "/a b.jpg") == "a b"


def test_large_image_is_scaled_to_fit_a_request(indexer: FakeIndexer, tmp_path: Path) -> None:
    Image.effect_noise((2400, 2400), 90).convert("RGB").save(tmp_path / "large.png")
    assert (tmp_path / "large.png").stat().st_size > 3 * 2**20
    assert run(["search", "--image", str(tmp_path / "large.png")]) == 0
    sent = asked(indexer).queries[0].parts[0].image
    assert len(sent) <= 3 * 2**20
    assert Image.open(BytesIO(sent)).size == (1024, 1024)


@pytest.mark.parametrize(
    "arguments",
    [
        [""],
        ["  "],
        ["x", "-k", "0"],
        ["x", "-k", "1001"],
        ["--image", "/none.jpg"],
        ["x", "--space-weight", "en"],
        ["x", "--space-weight", "=1"],
        ["x", "--not", "\udcff"],
        ["x", "--collapse", "2"],
    ],
)
def test_useless_queries_are_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_bytes_that_are_no_text_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "\udcff"]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_empty_image_file_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jpg").touch()
    assert run(["search", "--image", str(tmp_path / "empty.jpg")]) == 1
    assert "is no image" in capsys.readouterr().err


def test_pipe_gets_one_line_for_each_hit_without_control_characters(
    indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", "harbour"]) == 0
    assert capsys.readouterr().out == "1\t0.4100\t/p/<b>\\x1b]0;owned\\x07.jpg\n"


def test_page_shows_each_hit_and_lets_nothing_act(indexer: FakeIndexer, tmp_path: Path) -> None:
    page = tmp_path / "found.html"
    assert run(["search", "<i>harbour", "--html", str(page)]) == 0
    text = page.read_text()
    assert "data:image/jpeg;base64," in text
    assert "Harbour &lt;script&gt;" in text
    assert "<title>&lt;i&gt;harbour</title>" in text
    assert "<script" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("language", "shown", "others"),
    [
        (common.LANGUAGE_EN, ["Harbour", "sees: dock 62%<", "confidence 90%"], ["港", "码头", "把握"]),
        (common.LANGUAGE_ZH, ["港湾", "识别为：码头 62%<", "把握 90%"], ["Harbour", "dock", "confidence"]),
    ],
)
def test_page_speaks_the_language_of_the_query(
    indexer: FakeIndexer, tmp_path: Path, language: common.Language.ValueType, shown: list[str], others: list[str]
) -> None:
    indexer.language = language
    indexer.hits[0].image.metadata.update({"title": "Harbour", "title_zh": "港湾"})
    indexer.hits[0].image.labels.add(en="boathouse", zh="船库", probability=0.01)
    indexer.hits[0].image.path = "/p/a.jpg"
    assert run(["search", "?", "--html", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert [word for word in shown if word not in page] == []
    assert [word for word in [*others, "boathouse", "船库"] if word in page] == []


def test_page_goes_on_without_an_image_that_is_gone(indexer: FakeIndexer, tmp_path: Path) -> None:
    indexer.is_changed = True
    assert run(["search", "harbour", "--html", str(tmp_path / "page.html")]) == 0
    assert "no longer there" in (tmp_path / "page.html").read_text()


def test_page_that_cannot_be_written_is_one_line(
    indexer: FakeIndexer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", "harbour", "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_page_without_room_leaves_what_was_there(
    indexer: FakeIndexer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # half of a page is written, as on a disk that fills
    try:
        assert run(["search", "harbour", "--html", str(page)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{page}: File too large" in capsys.readouterr().err
    assert page.read_text() == "old"
    assert list(tmp_path.glob(".*.part")) == []


def test_page_goes_through_a_link_and_into_a_pipe(indexer: FakeIndexer, tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    assert run(["search", "harbour", "--html", str(tmp_path / "link.html")]) == 0
    assert (tmp_path / "link.html").is_symlink()
    assert "Harbour" in (tmp_path / "page.html").read_text()
    assert run(["search", "harbour", "--html", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()


def test_inline_image_of_iterm_holds_the_bytes() -> None:
    codes = inline_images.encode_iterm(b"bytes")
    assert codes.startswith("\x1b]1337;File=inline=1;")
    assert standard_b64decode(codes.rpartition(":")[2].removesuffix("\x07")) == b"bytes"


def test_kitty_image_is_a_png_in_chunks() -> None:
    out = BytesIO()
    Image.effect_noise((120, 80), 90).convert("RGB").save(out, "JPEG")
    codes = inline_images.encode_kitty(out.getvalue()).split("\x1b\\")[:-1]
    assert len(codes) > 1
    assert codes[0].startswith("\x1b_Ga=T,f=100,")
    assert all("m=1;" in code for code in codes[:-1])
    assert "m=0;" in codes[-1]
    data = standard_b64decode("".join(code.partition(";")[2] for code in codes))
    assert Image.open(BytesIO(data)).format == "PNG"


@pytest.mark.parametrize(
    "environment",
    [{}, {"TERM": "xterm-256color"}, {"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, {"TERM": "xterm-kitty"}],
)
def test_nothing_is_drawn_outside_a_fitting_terminal(environment: dict[str, str]) -> None:
    assert inline_images.choose_draw(environment) is None  # the last one: stdout of a test is no terminal


def test_duplicates_are_listed_by_group(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["repo", "duplicates", "default", "--threshold", "0.8"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "2 copies"
    assert "/p/a.jpg" in said.out
    assert "2 images compared, 1 group of duplicates" in said.err
    request = indexer.requests[0]
    assert isinstance(request, pb.DuplicatesRequest)
    assert (request.repository, request.threshold, request.allow_restricted) == ("default", 0.8, False)
    assert run(["repo", "duplicates", "default", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["images"], value["unread"], value["groups"][0]["kind"]) == (2, 0, "copies")
    assert [each["id"] for each in value["groups"][0]["images"]] == ["a", "b"]
