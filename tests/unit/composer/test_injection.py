"""Texts that try to act never do: not in the prompts of any model, not in pages, Markdown, HTML or JSON.

The idea: whatever a text says, the structure around it is that of a harmless one.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.hostile import HARMLESS, HOSTILE
from tests.unit.model.xcomposer.test_prompts import IMAGES, make1, make2
from xcomp_composer.article import proto, serialize
from xcomp_composer.article.captions import clean_line, select_printed_texts
from xcomp_composer.article.markers import insert_image_blocks, remove_image_blocks
from xcomp_composer.article.model import Article, Candidate, Illustration, Label, Segment, Unfilled
from xcomp_composer.bundle.page import render_article_page
from xcomp_composer.bundle.review import render_review_page
from xcomp_composer.bundle.writer import write_bundle
from xcomp_composer.document.markdown import parse
from xcomp_composer.document.splitting import split_blocks
from xcomp_model.base import Brief, Prompt, Prompts, Section, Text, Turn
from xcomp_model.openai_api.prompts import OpenAIPrompts
from xcomp_model.xcomposer.prompts import common

CONTEXT = "Some words before and after it, in English, so that the language of the question stays the same. " * 8
MARKDOWN = "# Title\n\nFirst words of the text.\n\nLast words of the text.\n"
PAGE = "<h1>Title</h1>\n<p>First words of the text.</p>\n<p>Last words of the text.</p>\n"


def every_prompt(prompts: Prompts, text: str) -> Iterator[Prompt]:
    """What the stages ask where every word of a user's or a model's is `text`."""
    said = f"{CONTEXT}{text}"
    yield prompts.spot([said, said], count=1)
    yield prompts.query([said, said], 0)
    yield prompts.query([said, said], 1, earlier=[(0, said)])
    yield prompts.choose([Section(said, IMAGES[0]), Section(said)], IMAGES[1:4])
    yield prompts.chat([Turn("user", said), Turn("assistant", said), Turn("user", said)])
    yield prompts.edit("expand", [said], 0, hint=said)
    yield prompts.edit("insert_after", [said, said], 0, hint=said)
    yield prompts.write(
        Brief(said, title=said, outline=said, keywords=(said,), requirements=said, material=said, language="en")
    )


@pytest.mark.parametrize(
    "prompts",
    [make1(common.TRAINED), make2(common.TRAINED), OpenAIPrompts()],
    ids=["version 1", "version 2", "endpoint"],
)
def test_no_text_changes_the_structure_of_a_prompt(prompts: Prompts) -> None:
    def structure(text: str) -> list[list[object]]:
        return [[Text if isinstance(part, Text) else part for part in prompt] for prompt in every_prompt(prompts, text)]

    expected = structure(HARMLESS)
    for text in HOSTILE:
        assert structure(text) == expected, text


def article_of(words: str, format_: str = "markdown") -> Article:
    """An article in which everything but the text itself is `words`."""
    label = Label(words, words, 0.9)
    candidate = Candidate("a", f"/photos/{words}.jpg", 1.0, 0.9, words, {words: words, "title": words}, (label,), 4, 3)
    picture = Illustration(
        "a", words, candidate.path, file="images/a.jpg", query=words, caption=words, alt=words, credit=words,
        probability=0.9, chosen_by=words, candidates=(candidate,), reason=words, width=4, height=3,
    )  # fmt: skip
    segments = [Segment(block.text) for block in split_blocks(PAGE if format_ == "html" else MARKDOWN, format_)]
    segments[1] = replace(segments[1], illustration=picture)
    unfilled = (Unfilled(2, words, words, (candidate,)),)
    return Article(
        words, "en", words, words, tuple(segments), unfilled=unfilled, format=format_, repository=words, draft=True
    )


class Skeleton(HTMLParser):
    """Tags with their attributes, the values left out; and what links and images point to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.targets: set[str] = set()
        self.comments = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.targets |= {str(value) for name, value in attrs if name in ("href", "src")}

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.comments += 1


def pages_of(article: Article) -> tuple[str, ...]:
    return render_article_page(article), render_review_page(article, lambda _: (b"x", ".jpg"))


def test_no_text_changes_the_structure_of_a_page() -> None:
    expected = [Skeleton(page) for page in pages_of(article_of(HARMLESS))]
    for words in HOSTILE:
        for page, harmless in zip(pages_of(article_of(words)), expected, strict=True):
            made = Skeleton(page)
            assert (made.tags, made.targets, made.comments) == (harmless.tags, harmless.targets, 0), words


def test_no_text_changes_the_structure_of_the_markdown_around_it() -> None:
    def structure(words: str) -> list[str]:
        tokens = parse(insert_image_blocks(article_of(words)))
        return [each.type for token in tokens for each in (token, *(token.children or ()))]

    expected = structure(HARMLESS)
    for words in HOSTILE:
        made = [kind for kind in structure(words) if kind != "text_special"]
        shown = clean_line(words)
        assert _joined(made) == _joined(expected) or not shown, words
        assert remove_image_blocks(insert_image_blocks(article_of(words))) == (MARKDOWN, 1)


def _joined(kinds: list[str]) -> list[str]:
    """Runs of text are one, however many pieces the parser makes of them."""
    return [kind for before, kind in zip(["", *kinds], kinds, strict=False) if kind != "text" or before != "text"]


def test_no_text_changes_the_structure_of_a_page_of_the_authors() -> None:
    expected = Skeleton(insert_image_blocks(article_of(HARMLESS, "html")))
    for words in HOSTILE:
        page = insert_image_blocks(article_of(words, "html"))
        made = Skeleton(page)
        assert (made.tags, made.targets, made.comments) == (expected.tags, expected.targets, 2), words
        assert remove_image_blocks(page, "html") == (PAGE, 1)


def test_every_text_comes_back_from_the_record_and_the_wire() -> None:
    for words in HOSTILE:
        article = article_of(words)
        assert serialize.loads(serialize.dumps(article)) == article
        assert proto.from_proto(proto.to_proto(article)) == article


def test_what_is_printed_about_a_picture_is_one_line_without_control_characters() -> None:
    for words in HOSTILE:
        told = select_printed_texts(
            {"title": words, "credit": words, "license": words}, (Label(words, words, 0.9),), "en"
        )
        for line in (told.caption, told.alt, told.credit):
            assert not re.search(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069\n]", line), words


def test_no_text_leads_a_file_out_of_the_bundle(tmp_path: Path) -> None:
    for words in HOSTILE:
        written = write_bundle(article_of(words), tmp_path, lambda *_: (b"x", ".jpg"))
        ((_, picture),) = written.illustrations
        assert re.fullmatch(r"images/[a-zA-Z0-9-]+\.jpg", picture.file), words
    assert {path.name for path in tmp_path.iterdir()} == {
        "article.html", "article.json", "article.md", "images", "review.html"
    }  # fmt: skip
