"""Bundles: every word stays, nothing of a user's acts, and the same article gives the same bytes."""

import errno
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct

from tests.toy_indexer import ToyIndexer
from xcomp_composer.article import proto, serialize
from xcomp_composer.article.events import Event, Spot, SpotCandidates, SpotIllustration, SpotQuery, TextDelta
from xcomp_composer.article.markers import remove_image_blocks
from xcomp_composer.article.model import (
    Article,
    Candidate,
    Evidence,
    HistoryEntry,
    Illustration,
    Json,
    Label,
    Segment,
    SpaceScore,
    Unfilled,
)
from xcomp_composer.article.proto import (
    metadata_from_struct,
)
from xcomp_composer.bundle.writer import THUMBNAIL_PX, read_bundle, write_bundle, write_in_place
from xcomp_composer.document.splitting import split_blocks
from xcomp_protos.errors import InvalidRequest, NotFound

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
TEXT = f"""# A *title* {EVIL}

Words with [a link](javascript:alert(1)), [another](https://example.org "t") and ![an image](https://example.org/x.png).

<div onclick="alert(1)">
raw
</div>

Inline <b onmouseover="alert(1)">html</b> &amp; <!-- a comment -->entities.

| a | b |
|---|--:|
| 1 | {EVIL} |

```html
{EVIL}
```

The last words.
"""
OFFERED = (
    Candidate(
        "coffee", f"/photos/{EVIL}.jpg", 3.25, 0.6, f"because {EVIL}", {"title": EVIL, "n": 1, "x": [1.5, "a"]},
        (Label("cup", "杯子", 0.5),), 640, 480,
    ),
    Candidate("cat", "/photos/cat.jpg", 1.5),
)  # fmt: skip
ILLUSTRATION = Illustration(
    "coffee", "toy", "/photos/coffee.jpg", query=EVIL, caption=f"A cup {EVIL}", alt='"quoted" & <alt>', credit=EVIL,
    probability=0.6, chosen_by="retrieval", candidates=OFFERED, reason=EVIL, width=640, height=480,
)  # fmt: skip


@pytest.fixture
def article() -> Article:
    segments = [Segment(block.text) for block in split_blocks(TEXT)]
    segments[1] = replace(segments[1], illustration=ILLUSTRATION)
    return Article(
        f"A title {EVIL}", "en", "retrieval", "lite", tuple(segments), seed=7,
        unfilled=(Unfilled(6, EVIL, f"nothing fits {EVIL}", OFFERED[1:]),),
        history=(HistoryEntry("remove", "{}"),), seconds={"illustrate": 1.5}, repository=EVIL,
    )  # fmt: skip


fetch = ToyIndexer().fetch


class Seen(HTMLParser):
    """What a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}


def test_a_bundle_holds_the_page_the_review_the_text_the_record_and_the_images(
    article: Article, tmp_path: Path
) -> None:
    written = write_bundle(article, tmp_path, fetch)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    image = written.segments[1].illustration
    assert image
    assert files == sorted(["article.html", "article.json", "article.md", "review.html", image.file])
    assert re.fullmatch(r"images/[a-z0-9-]+\.jpg", image.file)


def test_the_same_article_gives_the_same_bytes(article: Article, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_bundle(article, tmp_path / folder, fetch)
    for file in (tmp_path / "a").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT.rstrip("\n")])
def test_removing_the_blocks_from_article_md_restores_the_bytes(text: str, tmp_path: Path) -> None:
    segments = tuple(Segment(block.text, ILLUSTRATION) for block in split_blocks(text)[:2])
    rest = tuple(Segment(block.text) for block in split_blocks(text)[2:])
    write_bundle(Article("", "en", "", "", segments + rest), tmp_path, fetch)
    marked = (tmp_path / "article.md").read_bytes().decode()
    assert remove_image_blocks(marked)[0].encode() == text.encode()


@pytest.mark.parametrize("page", ["article.html", "review.html"])
def test_nothing_of_the_users_acts_in_a_page(article: Article, tmp_path: Path, page: str) -> None:
    write_bundle(article, tmp_path, fetch)
    html = (tmp_path / page).read_text(encoding="utf-8")
    seen = Seen()
    seen.feed(html)
    assert seen.tags.isdisjoint({"script", "iframe", "object", "embed", "form", "link", "base", "svg"})
    assert not [name for name in seen.attributes if name.startswith("on")]
    assert not [link for link in seen.links if link.startswith("javascript:")]
    assert "default-src 'none'" in html


def test_a_page_loads_only_what_lies_beside_it(article: Article, tmp_path: Path) -> None:
    write_bundle(article, tmp_path, fetch)
    for page in ("article.html", "review.html"):
        html = (tmp_path / page).read_text(encoding="utf-8")
        sources = re.findall(r'<img src="([^"]*)"', html)
        assert sources
        assert all(source.startswith("data:") or (tmp_path / source).is_file() for source in sources)
        assert "style=" not in html


def test_the_query_is_never_printed(article: Article, tmp_path: Path) -> None:
    quiet = replace(
        article.segments[1], illustration=replace(ILLUSTRATION, query="a very special query", candidates=())
    )
    shown = replace(article, segments=(article.segments[0], quiet, *article.segments[2:]), unfilled=())
    write_bundle(shown, tmp_path, fetch)
    for page in ("article.html", "article.md"):
        assert "special query" not in (tmp_path / page).read_text(encoding="utf-8")


def test_the_review_shows_every_spot_with_its_runners_up(article: Article, tmp_path: Path) -> None:
    write_bundle(article, tmp_path, fetch)
    html = (tmp_path / "review.html").read_text(encoding="utf-8")
    assert 'id="spot-1"' in html
    assert 'id="spot-6"' in html
    assert html.count("<li") == 3
    assert "left empty" in html


def test_the_review_gives_the_command_that_takes_a_runner_up(article: Article, tmp_path: Path) -> None:
    write_bundle(article, tmp_path, fetch)
    commands = re.findall("<code>(.*?)</code>", (tmp_path / "review.html").read_text(encoding="utf-8"))
    taken = {
        (number, each.image_id)
        for command in commands
        for number, pick in [map(int, re.fullmatch(r"xcomp edit \. --spot (\d+) --pick (\d+)", command).groups())]  # type: ignore[union-attr]
        for each in [_offered(article, number)[pick]]
    }
    shown = {(number, image.image_id) for number, image in article.illustrations}
    spots = {*dict(article.illustrations), *(spot.segment for spot in article.unfilled)}
    assert taken == {(number, each.image_id) for number in spots for each in _offered(article, number)} - shown


def test_the_review_offers_no_command_that_would_show_an_image_twice(article: Article, tmp_path: Path) -> None:
    other = replace(ILLUSTRATION, image_id="cat", path="/photos/cat.jpg", candidates=OFFERED[1:])
    segments = [
        replace(each, illustration=other if n == 3 else each.illustration) for n, each in enumerate(article.segments)
    ]
    write_bundle(replace(article, segments=tuple(segments)), tmp_path, fetch)
    page = (tmp_path / "review.html").read_text(encoding="utf-8")
    assert "<code>" not in page
    assert page.count("shown after segment 3") == 2  # at spot 1 and at the empty one


def _offered(article: Article, number: int) -> tuple[Candidate, ...]:
    spots = [each for each in article.unfilled if each.segment == number]
    return (article.segments[number].illustration or spots[0]).candidates


def test_only_the_authors_own_images_are_copied(article: Article, tmp_path: Path) -> None:
    source, bundle = tmp_path / "post", tmp_path / "bundle"
    (source / "img" / "my dog").mkdir(parents=True)
    for name in ("img/my dog/a.jpg", "b.PNG", "c.webp", "key.pem", "article.json"):
        (source / name).write_bytes(name.encode())
    (tmp_path / "secret.png").write_bytes(b"secret")
    (source / "way-out.png").symlink_to(tmp_path / "secret.png")
    links = ("img/my%20dog/a.jpg", "b.PNG", "../secret.png", "way-out.png", "key.pem", "article.json", "gone.png",
             "http://example.org/b.png", "/etc/b.png", "http://[/b.png")  # fmt: skip
    text = "".join(f"![]({link})\n\n" for link in links) + '<img alt="x" src="c.webp">\n'
    shown = replace(article, segments=(*article.segments, Segment(text)))
    before = {path.name for path in write_and_list(article, tmp_path / "plain")}
    assert {path.name for path in write_and_list(shown, bundle, source)} - before == {"a.jpg", "b.PNG", "c.webp"}
    assert (bundle / "img" / "my dog" / "a.jpg").read_bytes() == b"img/my dog/a.jpg"
    assert json.loads((bundle / "article.json").read_text())["title"] == article.title


def write_and_list(article: Article, folder: Path, source: Path | None = None) -> list[Path]:
    write_bundle(article, folder, fetch, source=source)
    return [path for path in folder.rglob("*") if path.is_file()]


def test_thumbnails_are_small_and_no_runner_up_lies_among_the_images(article: Article, tmp_path: Path) -> None:
    asked: list[tuple[str, int]] = []

    def watched(image_id: str, max_px: int) -> tuple[bytes, str]:
        asked.append((image_id, max_px))
        return fetch(image_id, max_px)

    write_bundle(article, tmp_path, watched)
    assert ("cat", THUMBNAIL_PX) in asked
    assert [image_id for image_id, max_px in asked if max_px > THUMBNAIL_PX] == ["coffee"]
    assert len(list((tmp_path / "images").iterdir())) == 1


def test_an_edited_bundle_loses_the_image_it_shows_no_more_and_nothing_else(article: Article, tmp_path: Path) -> None:
    write_bundle(article, tmp_path, fetch)
    (tmp_path / "images" / "mine.jpg").write_bytes(b"mine")
    other = replace(article.segments[1], illustration=replace(ILLUSTRATION, image_id="cat", caption="A cat"))
    write_bundle(replace(article, segments=(article.segments[0], other, *article.segments[2:])), tmp_path, fetch)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["a-cat-cat.jpg", "mine.jpg"]


def test_an_image_that_left_the_repository_keeps_its_file(article: Article, tmp_path: Path) -> None:
    written = write_bundle(article, tmp_path, fetch)
    again = write_bundle(written, tmp_path, ToyIndexer(()).fetch)
    assert again == written
    with pytest.raises(NotFound):
        write_bundle(article, tmp_path / "elsewhere", ToyIndexer(()).fetch)


def test_an_image_name_from_elsewhere_cannot_leave_the_folder(article: Article, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        write_bundle(article, tmp_path, lambda image_id, max_px: (b"x", ".jpg/../../x"))


def test_an_article_in_place_keeps_its_words_and_links_to_the_site(article: Article, tmp_path: Path) -> None:
    file = tmp_path / "post.md"
    written = write_in_place(article, file, assets=tmp_path / "static", url_prefix="/assets/", fetch=fetch)
    marked = file.read_bytes().decode()
    image = written.segments[1].illustration
    assert image
    assert image.file.startswith("/assets/")
    assert f"]({image.file})" in marked
    assert (tmp_path / "static" / image.file.removeprefix("/assets/")).is_file()
    assert remove_image_blocks(marked)[0] == article.text


def test_the_error_of_a_full_disk_names_the_file(
    article: Article, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device") as failed:
        write_bundle(article, tmp_path, fetch)
    assert Path(failed.value.filename).parent == tmp_path / "images"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_article_in_place_stays_private_and_where_its_link_leads(article: Article, tmp_path: Path) -> None:
    file, link = tmp_path / "post.md", tmp_path / "link.md"
    file.write_text("Before.")
    file.chmod(0o600)
    link.symlink_to(file)
    write_in_place(article, link, assets=tmp_path / "static", url_prefix="", fetch=fetch)
    assert link.is_symlink()
    assert remove_image_blocks(file.read_bytes().decode())[0] == article.text
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_bundle_is_read_back_as_it_was_written(article: Article, tmp_path: Path) -> None:
    written = write_bundle(article, tmp_path, fetch)
    assert read_bundle(tmp_path) == written


def test_a_folder_without_an_article_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not an article bundle"):
        read_bundle(tmp_path)


def test_the_record_has_the_keys_of_the_contract(article: Article, tmp_path: Path) -> None:
    write_bundle(article, tmp_path, fetch)
    record = json.loads((tmp_path / "article.json").read_text(encoding="utf-8"))
    keys = {"title", "language", "model", "profile", "seed", "segments", "unfilled", "history", "seconds"}
    assert keys <= record.keys()
    image = record["segments"][1]["illustration"]
    assert {
        "image_id", "repository", "path", "file", "query", "caption", "alt", "credit", "probability", "chosen_by",
        "locked", "candidates",
    } <= image.keys()  # fmt: skip
    assert {"image_id", "path", "retrieval_score", "probability"} <= image["candidates"][0].keys()
    assert {"segment", "query", "reason"} <= record["unfilled"][0].keys()
    assert record["segments"][0] == {"text": split_blocks(TEXT)[0].text, "illustration": None}


def test_an_image_without_words_is_listed(article: Article) -> None:
    bare = replace(article.segments[1], illustration=replace(ILLUSTRATION, caption="", alt=""))
    shown = replace(article, segments=(article.segments[0], bare, *article.segments[2:]))
    assert serialize.to_json(shown)["uncaptioned"] == [1]


def test_metadata_come_off_the_wire_in_one_order() -> None:
    names = [f"key{number}" for number in range(20)]
    struct = Struct()
    struct.update({"last": dict.fromkeys(reversed(names), 1), **dict.fromkeys(reversed(names), 1)})
    read = metadata_from_struct(struct)
    assert list(read) == sorted([*names, "last"])
    assert json.dumps(read["last"]) == json.dumps(dict.fromkeys(sorted(names), 1))


def test_an_article_travels_over_the_wire_unchanged(article: Article) -> None:
    assert proto.from_proto(proto.to_proto(article)) == article


@pytest.mark.parametrize(
    "event",
    [
        TextDelta("words"),
        Spot(3, 0.5),
        SpotQuery(3, "query"),
        SpotCandidates(3, OFFERED),
        SpotIllustration(3, ILLUSTRATION),
        Unfilled(3, "query", "reason", OFFERED),
    ],
)
def test_an_event_travels_over_the_wire_unchanged(event: Event) -> None:
    assert proto.event_from_proto(proto.event_to_proto(event)) == event


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], r"article.*`object`, got `array`$"),
        ({"segments": {}}, r"article.*`\$\.segments`$"),
        ({"segments": [{"text": 3}]}, r"article.*`\$\.segments\[0\]\.text`$"),
        (
            {"segments": [{"text": "a", "illustration": {"image_id": None}}]},
            r"article.*`\$\.segments\[0\]\.illustration\.image_id`$",
        ),
        ({"segments": [], "unfilled": [{"segment": 0}]}, "unfilled"),
        ({"title": 3}, r"article.*`\$\.title`$"),
    ],
)
def test_an_invalid_record_names_its_field(value: Json, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}"):
        serialize.from_json(value)


def test_a_record_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not JSON"):
        serialize.loads("{")


def test_a_draft_says_that_it_may_be_false(article: Article, tmp_path: Path) -> None:
    write_bundle(replace(article, draft=True), tmp_path, fetch)
    assert "may contain false statements" in (tmp_path / "article.html").read_text(encoding="utf-8")


def test_a_title_from_the_front_matter_is_shown_and_the_front_matter_is_not(tmp_path: Path) -> None:
    text = "---\ntitle: The title\nlayout: post\n---\n\nWords.\n"
    write_bundle(Article("The title", "en", "", "", (Segment(text),)), tmp_path, fetch)
    html = (tmp_path / "article.html").read_text(encoding="utf-8")
    assert "<h1>The title</h1>" in html
    assert "layout" not in html.partition("<body>")[2]


def test_plain_text_is_shown_as_it_is(tmp_path: Path) -> None:
    text = "A heading\n\n# not a heading, <b>not</b> bold.\n"
    article = Article(
        "A heading", "en", "", "", tuple(Segment(b.text) for b in split_blocks(text, "text")), format="text"
    )
    write_bundle(article, tmp_path, fetch)
    html = (tmp_path / "article.html").read_text(encoding="utf-8")
    assert "<p># not a heading, &lt;b&gt;not&lt;/b&gt; bold.</p>" in html


def test_pages_name_who_chose_the_images_and_not_who_wrote_the_words(article: Article, tmp_path: Path) -> None:
    write_bundle(replace(article, model="draft:small"), tmp_path, ToyIndexer().fetch)
    for page in ("article.html", "review.html"):
        text = (tmp_path / page).read_text(encoding="utf-8")
        assert "retrieval" in text
        assert "draft:small" not in text


def test_the_review_page_shows_what_a_choice_rests_on(article: Article, tmp_path: Path) -> None:
    scores = {"en": SpaceScore(1, 0.312, 2.4), "zh": SpaceScore(3, 0.2, -0.3)}
    offered = (replace(OFFERED[0], spaces=scores), *OFFERED[1:])
    evidence = Evidence("xcomposer2/zh", "0123456789abcdef", 0.934, 2, flipped=True)
    image = replace(ILLUSTRATION, candidates=offered, evidence=evidence)
    segments = (article.segments[0], replace(article.segments[1], illustration=image), *article.segments[2:])
    write_bundle(replace(article, segments=segments), tmp_path, fetch)
    page = (tmp_path / "review.html").read_text()
    for words in (
        "prompt xcomposer2/zh", "mass 0.93", "shown in 2 orders", "preferred a different", "weights 0123456789ab<",
        "en 0.312, rank 1, +2.4 sd", "zh 0.200, rank 3, -0.3 sd", "p 0.60",
    ):  # fmt: skip
        assert words in page
