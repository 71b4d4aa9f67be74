"""Dialects of Markdown beyond CommonMark: no image stands inside a construct of theirs. Where in doubt, no place."""

import random
from pathlib import Path

import pytest

from xcomp_composer.article.markers import insert_image_blocks, remove_image_blocks
from xcomp_composer.article.model import Article, Illustration, Segment
from xcomp_composer.bundle.html_body import render_body
from xcomp_composer.document.blocks import find_spots
from xcomp_composer.document.markdown import parse
from xcomp_composer.document.splitting import split_blocks

ILLUSTRATION = Illustration("id", "toy", "/p.jpg", file="images/a.jpg", alt="an image", caption="A {% raw %} caption")

# "inner N." are words inside a construct, "outer N." words of the page itself, the only places.
_SECTIONS = Path(__file__).with_name("dialects.txt").read_text(encoding="utf-8").split("@@@@ ")[1:]
TEXTS = {name: text for name, _, text in (section.partition("\n") for section in _SECTIONS)}


def places(text: str, format_: str = "markdown") -> list[str]:
    blocks = split_blocks(text, format_)
    assert "".join(block.text for block in blocks) == text
    return [blocks[number].prose for number in find_spots(blocks)]


def illustrate(text: str, format_: str = "markdown") -> Article:
    blocks = split_blocks(text, format_)
    spots = set(find_spots(blocks))
    segments = tuple(Segment(b.text, ILLUSTRATION if n in spots else None) for n, b in enumerate(blocks))
    return Article("", "en", "", "", segments, format=format_)


@pytest.mark.parametrize("name", TEXTS)
def test_only_the_words_of_the_page_itself_are_places(name: str) -> None:
    found = places(TEXTS[name])
    assert all("inner" not in words for words in found)
    numbers = [digit for words in found for digit in words.partition("outer ")[2][:1]]
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert len(numbers) == sum(f"outer {number}" in TEXTS[name] for number in range(1, 9))


@pytest.mark.parametrize("name", TEXTS)
def test_images_of_a_dialect_come_out_without_a_trace(name: str) -> None:
    for text in (TEXTS[name], TEXTS[name].replace("\n", "\r\n"), "\ufeff" + TEXTS[name].strip()):
        article = illustrate(text)
        assert remove_image_blocks(insert_image_blocks(article)) == (text, len(article.illustrations))


def test_pieces_of_all_dialects_joined_at_random_survive_cutting_and_marking() -> None:
    pieces = [piece + "\n\n" for text in TEXTS.values() for piece in text.split("\n\n")]
    chance = random.Random(3)
    placed = 0
    for _ in range(400):
        text = "".join(chance.choices(pieces, k=chance.randint(1, 12)))
        article = illustrate(text)
        assert article.text == text
        assert remove_image_blocks(insert_image_blocks(article)) == (text, len(article.illustrations))
        placed += len(article.illustrations)
    assert placed > 200


@pytest.mark.parametrize(
    "unit",
    [
        "%%\n\n", "%% a\n\n", "a %% b\n\n", "{::comment}\n\n", "![[", "![[a", "<% ", "<% a\n", "{{#a}}\n\n", "{{/a}}",
        "-- --\n\n", "-- --\nx\n\n---\n", "/// a\n\n", "a\n: b\n\n", "{# ", "%%a", "{::comment}a",
        "\\begin{a}", "[^a]: ",
    ],
)  # fmt: skip
def test_hostile_dialects_are_read_in_one_pass(unit: str) -> None:
    text = unit * (60_000 // len(unit))
    assert "".join(block.text for block in split_blocks(text)) == text


def test_a_page_leaves_out_comments_and_shows_embedded_images() -> None:
    text = (
        "Outer 1 %%secret a%% words.\n\n%%\nsecret b\n\nsecret c\n%%\n\n{::comment}\nsecret d\n{:/}\n\nout 2.\n\n"
        "![[my cat.jpg|300]]\n\n![[A note]]\n\n"
        "50%% of 100%%.\n\n{::comment}secret e{:/} words\n\nTerm\n: Meaning.\n\n`%%x%%`\n"
    )
    page = render_body(Article("", "en", "", "", (Segment(text),)))
    assert "secret" not in page
    assert '<img src="my%20cat.jpg" alt="">' in page
    assert "![[A note]]" in page
    assert "50%% of 100%%." in page
    assert "<dt>Term</dt>" in page
    assert "<code>%%x%%</code>" in page
    assert places(text)[:1] == ["Outer 1 words."]


def test_an_image_of_obsidian_is_an_image() -> None:
    tokens = [child for token in parse("Words.\n\n![[a b.PNG#x|300]]\n") for child in token.children or ()]
    assert [token.attrs.get("src") for token in tokens if token.type == "image"] == ["a%20b.PNG"]
