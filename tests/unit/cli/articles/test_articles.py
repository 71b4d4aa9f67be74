"""`xcomp illustrate`, `compose`, `edit` and `select` against a canned composer."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.unit.cli.fake_servers import JPEG, FakeComposer, FakeIndexer, serving
from xcomp_cli.main import run
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as pb
from xcomp_protos import indexer_pb2 as ipb

TEXT = "# Harbours\n\nThe harbour wakes early.\n\nBut why?\n"


def article() -> pb.Article:
    offered = pb.Candidate(image_id="0123456789ab", path="/photos/dock.jpg")
    illustration = pb.Illustration(
        image_id="0123456789ab", repository="trips", path="/photos/dock.jpg", query="a harbour", caption="A dock",
        alt="A dock", chosen_by="retrieval", candidates=[offered],
    )  # fmt: skip
    pieces = ["# Harbours\n\n", "The harbour wakes early.\n\n", "But why?\n"]
    segments = [pb.Segment(text=piece) for piece in pieces]
    segments[1].illustration.CopyFrom(illustration)
    return pb.Article(
        title="Harbours", language="en", model="retrieval", profile="lite", seed=7, segments=segments,
        unfilled=[pb.Unfilled(segment=2, query="why", reason="nothing stands out")], repository="trips",
        format="markdown",
    )  # fmt: skip


@pytest.fixture
def indexer() -> FakeIndexer:
    return FakeIndexer()


@pytest.fixture
def composer(indexer: FakeIndexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeComposer]:
    fake = FakeComposer(article())
    (tmp_path / "post.md").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    with serving(indexer, tmp_path, fake) as address:
        monkeypatch.setenv("XCOMP_INDEXER", address)
        monkeypatch.setenv("XCOMP_COMPOSER", address)
        yield fake


def test_bundle_lies_beside_the_article_with_its_images(
    composer: FakeComposer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["illustrate", "post.md"]) == 0
    said = capsys.readouterr()
    folder = tmp_path / "post.illustrated"
    assert {path.name for path in folder.iterdir()} == {
        "article.md", "article.html", "review.html", "article.json", "images",
    }  # fmt: skip
    assert [path.read_bytes() for path in (folder / "images").iterdir()] == [JPEG]
    assert said.out.splitlines()[-1] == "post.illustrated/article.html"
    assert said.err == ""


def test_json_is_the_article_of_the_contract(composer: FakeComposer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["illustrate", "post.md", "--out", "made", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value == json.loads(Path("made/article.json").read_text())
    assert "".join(segment["text"] for segment in value["segments"]) == TEXT
    illustration = value["segments"][1]["illustration"]
    assert (illustration["image_id"], illustration["chosen_by"], illustration["locked"]) == (
        "0123456789ab",
        "retrieval",
        False,
    )
    assert Path("made", illustration["file"]).read_bytes() == JPEG
    assert [spot["segment"] for spot in value["unfilled"]] == [2]


def test_request_carries_the_flags_and_the_very_bytes(composer: FakeComposer) -> None:
    Path("post.md").write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo")
    flags = ["--images", "2", "--max-images", "3", "--repo", "trips", "--where", "tag=sea", "-k", "6", "--lang", "zh"]
    assert run(["illustrate", "post.md", *flags, "--seed", "9", "--model", "retrieval", "--profile", "lite"]) == 0
    request = composer.requests[0]
    assert isinstance(request, pb.IllustrateRequest)
    assert (request.text, request.format) == ("\ufeffone\r\n\r\ntwo", "markdown")
    options = request.options
    assert (options.images, options.max_images, options.k, options.seed) == (2, 3, 6, 9)
    assert (options.repository, options.model, options.profile) == ("trips", "retrieval", "lite")
    assert options.language == common.LANGUAGE_ZH
    assert list(options.where) == ["tag=sea"]


def test_bounds_are_left_out_without_flags(composer: FakeComposer) -> None:
    run(["illustrate", "post.md"])
    request = composer.requests[0]
    assert isinstance(request, pb.IllustrateRequest)
    assert not request.options.HasField("images")
    assert not request.options.HasField("max_images")


@pytest.mark.parametrize(("flags", "asked"), [([], 3), (["--max-images", "4"], 3), (["--max-images", "2"], 0)])
def test_a_warning_says_that_fewer_spots_exist_than_images_requested(
    composer: FakeComposer, capsys: pytest.CaptureFixture[str], flags: list[str], asked: int
) -> None:
    assert run(["illustrate", "post.md", "--images", "3", *flags]) == 0
    said = "warning: images requested: 3; spots that the text has for them, after its paragraphs: 2\n"
    assert capsys.readouterr().err == (said if asked else "")


def test_strict_fails_when_fewer_spots_exist_than_images_requested(composer: FakeComposer) -> None:
    del composer.article.unfilled[:]
    assert run(["illustrate", "post.md", "--images", "1", "--strict"]) == 0
    assert run(["illustrate", "post.md", "--images", "2", "--strict"]) == 3


def test_a_page_whose_tags_are_in_doubt_says_where(composer: FakeComposer, capsys: pytest.CaptureFixture[str]) -> None:
    page = "<p>The harbour wakes early.</p>\n<p>But <b>why <i>now</b></i>?</p>\n"
    composer.article.CopyFrom(pb.Article(format="html", segments=[pb.Segment(text=page)]))
    assert run(["illustrate", "post.md"]) == 0
    assert "the tags are in doubt from line 2 of the page on" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--zip"]])
def test_text_and_choices_are_saved_when_the_indexer_stops_before_images_arrive(
    composer: FakeComposer, indexer: FakeIndexer, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    del composer.article.unfilled[:]
    indexer.refusal = (grpc.StatusCode.UNAVAILABLE, "gone")
    assert run(["compose", "harbours", "--out", "made", *flags]) == 4
    assert "words and choices are in 'made', and xcomp edit made --fill draws the images" in capsys.readouterr().err
    assert Path("made/article.md").read_text() == TEXT
    assert json.loads(Path("made/article.json").read_text())["segments"][1]["illustration"]["file"] == ""

    indexer.refusal = None
    assert run(["edit", "made", "--fill"]) == 0
    illustration = json.loads(Path("made/article.json").read_text())["segments"][1]["illustration"]
    assert Path("made", illustration["file"]).read_bytes() == JPEG
    assert illustration["file"] in Path("made/article.md").read_text()


def test_what_is_saved_beside_a_zip_replaces_no_foreign_files(composer: FakeComposer, indexer: FakeIndexer) -> None:
    Path("made").mkdir()
    Path("made/article.md").write_text("Mine.")
    indexer.refusal = (grpc.StatusCode.UNAVAILABLE, "gone")
    assert run(["illustrate", "post.md", "--out", "made.zip"]) == 4
    assert Path("made/article.md").read_text() == "Mine."
    assert Path("made.illustrated/article.md").read_text() == TEXT


def test_strict_ends_in_3_when_a_spot_stays_empty(composer: FakeComposer) -> None:
    assert run(["illustrate", "post.md", "--strict"]) == 3


def test_own_output_goes_back_into_its_bundle(composer: FakeComposer, tmp_path: Path) -> None:
    run(["illustrate", "post.md"])
    assert run(["illustrate", "post.illustrated/article.md"]) == 0
    assert [path.name for path in tmp_path.glob("*.illustrated")] == ["post.illustrated"]
    assert not (tmp_path / "post.illustrated" / "article.illustrated").exists()


@pytest.mark.parametrize("name", ["article.md", "article.html", "review.html"])
@pytest.mark.parametrize("command", [["illustrate", "post.md"], ["compose", "harbours"]])
def test_files_that_no_bundle_put_into_a_folder_are_not_replaced(
    composer: FakeComposer, capsys: pytest.CaptureFixture[str], command: list[str], name: str
) -> None:
    Path("site").mkdir()
    Path("site", name).write_text("Mine.")
    assert run([*command, "--out", "site"]) == 2
    assert f"--out site: the {name} there does not belong to an article bundle" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in Path("site").iterdir()] == [(name, "Mine.")]
    assert not composer.requests

    Path("site", name).unlink()
    assert run([*command, "--out", "site"]) == 0
    assert run([*command, "--out", "site"]) == 0  # its own it replaces


def test_in_place_links_to_the_assets(composer: FakeComposer) -> None:
    assert run(["illustrate", "post.md", "--in-place", "--assets", "static/img", "--url-prefix", "/img"]) == 0
    name = next(Path("static/img").iterdir()).name
    assert f"(/img/{name})" in Path("post.md").read_text()


def test_in_place_keeps_what_was_written_meanwhile(composer: FakeComposer, capsys: pytest.CaptureFixture[str]) -> None:
    def somebody_writes() -> Iterator[pb.ComposeEvent]:
        Path("post.md").write_text("Words of another day.")
        yield from ()

    composer.events = somebody_writes()
    assert run(["illustrate", "post.md", "--in-place", "--assets", "static"]) == 1
    assert "changed meanwhile" in capsys.readouterr().err
    assert Path("post.md").read_text() == "Words of another day."
    assert not Path("static").exists()


def test_in_place_links_relatively_without_a_prefix(composer: FakeComposer) -> None:
    Path("posts").mkdir()
    Path("post.md").rename("posts/post.md")
    assert run(["illustrate", "posts/post.md", "--in-place", "--assets", "static"]) == 0
    assert "(../static/" in Path("posts/post.md").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["none.md"],
        ["latin.md"],
        ["post.md", "--in-place"],
        ["post.mdx", "--in-place", "--assets", "a"],
        ["post.md", "--in-place", "--assets", "a", "--out", "b"],
        ["post.md", "--assets", "a"],
        ["post.md", "-k", "0"],
        ["post.md", "--images", "-1"],
    ],
)
def test_wrong_usage_of_illustrate_touches_nothing(
    composer: FakeComposer, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    (tmp_path / "post.mdx").write_text(TEXT)
    assert run(["illustrate", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not composer.requests
    assert (tmp_path / "post.md").read_text() == TEXT


def test_originals_are_fetched_as_such_but_thumbnails_are_not(composer: FakeComposer, indexer: FakeIndexer) -> None:
    run(["illustrate", "post.md", "--originals"])
    fetched = [request for request in indexer.requests if isinstance(request, ipb.FetchRequest)]
    assert {request.originals for request in fetched if request.max_px == 2048} == {True}
    assert {request.originals for request in fetched if request.max_px < 2048} == {False}


@pytest.mark.parametrize("flags", [[], ["--allow-restricted"]])
def test_restricted_images_are_fetched_only_if_allowed(
    composer: FakeComposer, indexer: FakeIndexer, flags: list[str]
) -> None:
    run(["illustrate", "post.md", *flags])
    fetched = [request for request in indexer.requests if isinstance(request, ipb.FetchRequest)]
    assert {request.allow_restricted for request in fetched} == {bool(flags)}


def test_chosen_image_that_changed_asks_for_an_index(
    composer: FakeComposer, indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]
) -> None:
    indexer.is_changed = True
    assert run(["illustrate", "post.md"]) == 1
    assert "dock.jpg has changed: run xcomp index again" in capsys.readouterr().err


def test_composer_elsewhere_needs_its_indexer(
    composer: FakeComposer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("XCOMP_INDEXER")
    assert run(["illustrate", "post.md"]) == 2
    assert "--composer needs --indexer" in capsys.readouterr().err


def test_compose_never_writes_over_an_earlier_article(composer: FakeComposer, tmp_path: Path) -> None:
    assert run(["compose", "harbours", "--keywords", "dawn, gulls"]) == 0
    assert run(["compose", "harbours"]) == 0
    assert {path.name for path in tmp_path.glob("*.illustrated")} == {"harbours.illustrated", "harbours-2.illustrated"}
    request = composer.requests[0]
    assert isinstance(request, pb.ComposeRequest)
    assert (request.instruction, list(request.keywords)) == ("harbours", ["dawn", "gulls"])


def test_empty_instruction_is_wrong_usage(composer: FakeComposer) -> None:
    assert run(["compose", " "]) == 2


@pytest.mark.parametrize(
    ("flags", "operation"),
    [
        (["--spot", "1", "--pick", "0"], pb.EditOperation(pick=pb.PickCandidate(spot=1, candidate=0))),
        (["--spot", "0", "--search", "gulls"], pb.EditOperation(search=pb.SearchSpot(spot=0, query="gulls"))),
        (["--spot", "1", "--remove"], pb.EditOperation(remove=1)),
        (["--spot", "1", "--lock"], pb.EditOperation(lock=1)),
        (
            ["--segment", "2", "--insert-after", "New words."],
            pb.EditOperation(
                segment=pb.EditSegment(segment=2, kind=pb.EditSegment.KIND_INSERT_AFTER, text="New words.")
            ),
        ),
        (
            ["--segment", "1", "--shorten"],
            pb.EditOperation(segment=pb.EditSegment(segment=1, kind=pb.EditSegment.KIND_SHORTEN)),
        ),
        (["--undo"], pb.EditOperation(undo=True)),
    ],
)
def test_edit_asks_for_one_operation_on_the_article(
    composer: FakeComposer, flags: list[str], operation: pb.EditOperation
) -> None:
    run(["illustrate", "post.md"])
    assert run(["edit", "post.illustrated", *flags]) == 0
    request = composer.requests[-1]
    assert isinstance(request, pb.EditRequest)
    assert request.operation == operation
    assert request.article.segments[1].illustration.image_id == "0123456789ab"
    assert request.options.repository == "trips"


@pytest.mark.parametrize(("probability", "says"), [(0.3, True), (0.6, False)])
def test_a_warning_names_an_image_that_does_not_fit_the_search(
    composer: FakeComposer, capsys: pytest.CaptureFixture[str], probability: float, says: bool
) -> None:
    run(["illustrate", "post.md"])
    for candidate in composer.article.segments[1].illustration.candidates:
        candidate.probability = 0.0
    composer.article.segments[1].illustration.candidates.add(image_id="x", path="/p/x.jpg", probability=probability)
    capsys.readouterr()
    assert run(["edit", "post.illustrated", "--spot", "1", "--search", "a cat"]) == 0
    assert ("warning: no image that is free here fits 'a cat'" in capsys.readouterr().err) is says


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--undo", "--spot", "1", "--lock"],
        ["--spot", "1"],
        ["--spot", "1", "--lock", "--remove"],
        ["--lock"],
        ["--segment", "1"],
        ["--segment", "1", "--rewrite", "--insert-after", "x"],
        ["--segment", "1", "--rewrite", "--expand"],
        ["words"],
        ["--spot", "1", "--search", " "],
    ],
)
def test_edit_refuses_none_or_several_operations(composer: FakeComposer, flags: list[str]) -> None:
    run(["illustrate", "post.md"])
    count = len(composer.requests)
    assert run(["edit", "post.illustrated", *flags]) == 2
    assert len(composer.requests) == count


def test_edit_of_what_is_no_bundle_fails(composer: FakeComposer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["edit", "nowhere", "--undo"]) == 1
    assert "is not an article bundle" in capsys.readouterr().err


def test_select_gives_a_probability_for_each_candidate(
    composer: FakeComposer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.jpg").write_bytes(JPEG)
    known = "cd69e76d-8e6b-5533-a3dd-54e39b0a9539"
    assert run(["select", "--context", "post.md", "--candidate", "a.jpg", known, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"choice": 1, "probabilities": [0.25, 0.75], "mass": 0.5}
    request = composer.requests[0]
    assert isinstance(request, pb.SelectRequest)
    assert [candidate.WhichOneof("content") for candidate in request.candidates] == ["image", "image_id"]
    assert request.context == TEXT


def test_select_says_that_nothing_fits(composer: FakeComposer, capsys: pytest.CaptureFixture[str]) -> None:
    composer.choice = pb.SelectResponse(probabilities=[0.1], mass=0.1)
    Path("a.jpg").write_bytes(JPEG)
    assert run(["select", "--context", "post.md", "--candidate", "a.jpg", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["choice"] is None


def test_select_without_candidates_is_wrong_usage(composer: FakeComposer) -> None:
    assert run(["select", "--context", "post.md"]) == 2


def test_a_bundle_in_place_of_an_article_is_told_how_to_fill_it(
    composer: FakeComposer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["illustrate", "post.md", "--out", "my post"]) == 0
    capsys.readouterr()
    asked = len(composer.requests)
    assert run(["illustrate", "my post"]) == 2
    error = "error: 'my post' is an article bundle, 1 of its spots empty: xcomp edit 'my post' --fill looks again\n"
    assert capsys.readouterr().err == error
    assert len(composer.requests) == asked
    bundle = json.loads((tmp_path / "my post" / "article.json").read_text())
    (tmp_path / "my post" / "article.json").write_text(json.dumps({**bundle, "unfilled": []}))
    assert run(["illustrate", "my post"]) == 2
    assert "name 'my post/article.md' to illustrate it again" in capsys.readouterr().err


def test_a_folder_in_place_of_an_article_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["illustrate", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "is a folder: name the file of an article" in said
    assert len(said.splitlines()) == 1
