"""The pages in a real browser: images load, nothing overflows, nothing acts, in both languages and at two widths."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct
from PIL import Image

from tests import browser as browsers
from tests.browser import Browser, Look
from xcomp_cli.evaluation.items import read_items
from xcomp_cli.evaluation.labelling import image_source, labelling_page
from xcomp_cli.output.search_page import write_page
from xcomp_composer.article.model import Article, Candidate, Evidence, Illustration, Segment, SpaceScore, Unfilled
from xcomp_composer.bundle.writer import write_bundle
from xcomp_composer.document.splitting import split_blocks
from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb

pytestmark = pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing())

WIDTHS = (375, 1280)
EVIL = "<script>document.title='acted'</script><img src=x onerror=\"document.title='acted'\">"
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmütze" * 8
URL = f"https://example.org/{'a' * 300}"
ENGLISH = f"""# The harbour of {LONG[:90]} {EVIL}

The harbour wakes early, and {LONG} is moored there. {URL} is a long way from here, and a paragraph that begins an
article has a large first letter, for which it needs a few lines of its own to stand beside.

| a table | with {LONG[:120]} | and | many | more | columns | than | fit |
|---|---|---|---|---|---|---|---|
| 1 | 2 | 3 | 4 | 5 | {URL} | 7 | 8 |

```
{"a line of code that goes on " * 12}
```

- a list
  - in a list
    > with a quotation of {LONG}

By noon the boats are back.
"""
CHINESE = f"""# 港口的一天{"很长的标题" * 12}

清晨的港口很早就醒来了，{"渔船一艘接一艘地驶出防波堤，" * 6}海鸥在上空盘旋。{URL}

## {LONG[:60]}

到了中午，船都回来了。{EVIL}
"""
SHAPES = {"wide": (640, 200), "tall": (200, 640), "even": (320, 320), "plain": (480, 320)}


def make_jpeg(name: str, max_px: int = 2048) -> bytes:
    image = Image.new("RGB", SHAPES.get(name, (480, 320)), (40, 110, 160))
    image.paste((230, 190, 120), (0, image.height * 2 // 3, image.width, image.height))
    image.thumbnail((max_px, max_px))
    target = io.BytesIO()
    image.save(target, "JPEG")
    return target.getvalue()


def fetch(image_id: str, max_px: int) -> tuple[bytes, str]:
    return make_jpeg(image_id, max_px), ".jpg"


class Client:
    """The part of the indexer's client that a page asks."""

    def fetch(self, request: pb.FetchRequest) -> tuple[pb.FetchHeader, bytes]:
        return pb.FetchHeader(media_type="image/jpeg", suffix=".jpg"), make_jpeg(request.image_id, request.max_px)


def article(text: str, language: str) -> Article:
    blocks = split_blocks(text)
    offered = tuple(
        Candidate(name, f"/photos/{LONG}/{EVIL}/{name}.jpg", 3.5 - n / 10, 0.3, f"because of {LONG} {EVIL}",
                  spaces={"en": SpaceScore(1, 0.31, 2.4), EVIL: SpaceScore(n + 1, 0.2, -0.3)},
                  width=SHAPES.get(name, (480, 320))[0], height=SHAPES.get(name, (480, 320))[1])
        for n, name in enumerate((*SHAPES, *(f"more{n}" for n in range(20))))
    )  # fmt: skip
    segments = [Segment(block.text) for block in blocks]
    paragraphs = [n for n, block in enumerate(blocks) if block.kind.name in ("PARAGRAPH", "HEADING")]
    for number, name in zip(paragraphs, SHAPES, strict=False):
        width, height = SHAPES[name]
        shown = Illustration(
            name, EVIL, f"/photos/{name}.jpg", query=EVIL, caption=f"{LONG} {EVIL}", alt=EVIL, credit=URL,
            probability=0.61, chosen_by=f"internlm/{LONG[:80]}", candidates=offered, reason=LONG, width=width,
            height=height, locked=name == "tall",
            evidence=Evidence(f"xcomposer2/zh {EVIL}", "d" * 64, 0.93, 2, flipped=True),
        )  # fmt: skip
        segments[number] = replace(segments[number], illustration=shown)
    title = f"{text.splitlines()[0][2:]}"
    return Article(
        title, language, "internlm/internlm-xcomposer2-7b", "xcomposer", tuple(segments), repository=EVIL, draft=True,
        unfilled=(Unfilled(len(segments) - 1, LONG, f"nothing fits {URL}", offered[:3]),),
    )  # fmt: skip


def search_page(folder: Path, query: str) -> Path:
    metadata = Struct()
    metadata.update({"title": f"{EVIL} {LONG}"})
    hits = [
        common.Hit(rank=n + 1, score=0.3, image=common.Image(
            id=name, repository=EVIL, path=f"/photos/{EVIL}{LONG}.jpg", width=640, height=480,
            metadata=metadata, labels=[common.Label(en=LONG, zh="港口", probability=0.5)],
        ))
        for n, name in enumerate((*SHAPES, *(f"more{n}" for n in range(20))))
    ]  # fmt: skip
    found = pb.QueryResult(language=common.LANGUAGE_ZH if query[0] >= "\u4e00" else common.LANGUAGE_EN, hits=hits)
    write_page(folder / "search.html", query, found, client=Client())  # type: ignore[arg-type]  # the part that is asked
    return folder / "search.html"


def label_page(folder: Path, text: str, count: int = 4) -> Path:
    names = [f"{name}.jpg" for name in (*SHAPES, *(f"more{n}" for n in range(20)))][:count]
    for name in names:
        (folder / name).write_bytes(make_jpeg(name.removesuffix(".jpg")))
    item = {"context": text, "query": "a query", "candidates": names, "images": [names[0]]}
    lines = [json.dumps({**item, "id": f"{n} {EVIL}"}) for n in range(3)]
    (folder / "items.jsonl").write_text("\n".join(lines))
    items = read_items(folder / "items.jsonl")
    (folder / "items.html").write_text(labelling_page(items, image_source(lambda _: ("", b"")), name="items", seed=1))
    return folder / "items.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for language, text in (("en", ENGLISH), ("zh", CHINESE)):
        folder = tmp_path_factory.mktemp(language)
        write_bundle(article(text, language), folder, fetch)
        found[f"article {language}"], found[f"review {language}"] = folder / "article.html", folder / "review.html"
        found[f"search {language}"] = search_page(folder, f"{LONG} {EVIL}" if language == "en" else "港口" * 40)
        found[f"label {language}"] = label_page(folder, text, count=4 if language == "en" else 24)
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsers.browsing(tmp_path_factory.mktemp("profile")) as running:
        yield running


def test_a_page_without_styles_of_its_own_keeps_our_images_within(browser: Browser, tmp_path: Path) -> None:
    page = "<!doctype html>\n<meta name=viewport content='width=device-width'>\n<p>The harbour wakes early.</p>\n"
    segments = [Segment(block.text) for block in split_blocks(page, "html")]
    shown = Illustration("plain", "r", "/plain.jpg", alt="A harbour", width=1600, height=1000)
    segments[-1] = replace(segments[-1], illustration=shown)
    write_bundle(Article("", "en", "m", "p", tuple(segments), format="html"), tmp_path, fetch)
    for width in WIDTHS:
        assert browser.look(tmp_path / "article.html", width=width) == Look(width, 1, (), (), ())
    assert browser.evaluate("Math.abs(document.images[0].width / document.images[0].height - 1.6) < 0.15")


KINDS = [f"{kind} {language}" for kind in ("article", "review", "search", "label") for language in ("en", "zh")]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_images_load_and_nothing_overflows(
    browser: Browser, pages: dict[str, Path], kind: str, width: int
) -> None:  # fmt: skip
    look = browser.look(pages[kind], width=width)
    assert look.images >= 3
    assert look == Look(width, look.images, (), (), ())
    assert browser.evaluate("document.title") != "acted"
    assert browser.evaluate("document.documentElement.lang")[:2] == kind[-2:]


def test_an_overflow_a_lost_image_and_an_error_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        "<img src=gone.png><p style='width: 900px'>wide</p><script>undefinedName()</script>"
    )
    look = browser.look(page, width=375)
    assert look.width > 375
    assert len(look.wide) == len(look.broken) == 1
    assert any("undefinedName" in each for each in look.complaints)


@pytest.mark.parametrize("kind", KINDS)
def test_words_can_be_read_in_the_dark(browser: Browser, pages: dict[str, Path], kind: str) -> None:
    lightness = "getComputedStyle(document.body).{0}.match(/\\d+/g).slice(0, 3).reduce((sum, each) => sum + +each, 0)"
    for is_dark in (False, True):
        browser.look(pages[kind], width=1280, is_dark=is_dark)
        paper, ink = (browser.evaluate(lightness.format(part)) for part in ("backgroundColor", "color"))
        assert (ink - paper > 400) if is_dark else (paper - ink > 400)


def test_a_person_labels_with_the_keyboard_and_the_picks_come_out(browser: Browser, pages: dict[str, Path]) -> None:
    page = pages["label en"]
    browser.look(page, width=1280)
    order = browser.evaluate("items[0].candidates.map((each) => each.number)")
    for key in ("2", "n", "ArrowLeft", "ArrowLeft", "ArrowRight", "1"):
        browser.press(key)
    picks = [json.loads(line) for line in browser.evaluate("exported()").splitlines()]
    first, second = picks
    assert (first["pick"], first["order"], first["id"]) == (order[1], order, f"0 {EVIL}")
    assert second["pick"] == browser.evaluate("items[1].candidates[0].number")
    assert browser.evaluate("by('state').textContent").startswith("3 / 3")
    items = page.with_name("items.jsonl")
    assert [pick["item"] for pick in picks] == [item.digest for item in read_items(items)[:2]]
    browser.look(page, width=1280)
    assert browser.evaluate("picks.size") == 2  # kept by the browser


def test_the_place_is_in_view(browser: Browser, pages: dict[str, Path]) -> None:
    for kind in ("label en", "label zh"):
        browser.look(pages[kind], width=375)
        hidden = "(({scrollHeight, scrollTop, clientHeight}) => scrollHeight - scrollTop - clientHeight)(by('context'))"
        assert browser.evaluate(hidden) < 2


def test_picks_are_downloaded(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    browser.look(pages["label zh"], width=1280)
    browser.call("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.press("c")
    browser.evaluate("by('save').click()")
    file = tmp_path / "items.picks.jsonl"
    for _ in range(100):
        if file.exists():
            break
        browser.evaluate("new Promise((done) => setTimeout(done, 50))")
    (pick,) = map(json.loads, file.read_text().splitlines())
    assert pick["pick"] == browser.evaluate("items[0].candidates[11].number")
