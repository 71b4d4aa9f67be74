"""Metadata before a text are never written into, never printed, and give the title as their own readers see it."""

import pytest

from xcomp_composer.document.blocks import Kind, find_spots
from xcomp_composer.document.front_matter import count_front_matter_lines
from xcomp_composer.document.markdown import parse
from xcomp_composer.document.splitting import find_title, split_blocks

PROSE = "I made a cup of espresso in the red cup.\n"


@pytest.mark.parametrize(
    ("front", "title"),
    [
        ("---\n# Basics\ntitle: A cup\nmore: The cat\n\n# Taxonomies\ntags: [x]\n\n# Hero\nc: d\n---\n", "A cup"),
        ("\n\n---\ntitle: Coffee\ndescription: The cat came close\n\nsummary: A cup\n---\n", "Coffee"),
        ("---\n\ntitle: A cup of coffee\ndescription: The cat came close\n\n---\n", "A cup of coffee"),
        ("\ufeff---  \r\n\r\n# c\r\nTitle: A cup\r\n...\r\n", "A cup"),
        ("---\n# only a comment\n---\n", ""),
        ("---\n---\n", ""),
        ("---\n? title\n: A cup\n---\n", "A cup"),
        ("---\n{title: A cup, tags: [a, b]}\n---\n", "A cup"),
        ("---\ntitle: {{ cookiecutter.title }}\n\nx: y\n---\n", ""),
        ("---\ntitle: A cup\nbad:\n\t- tab\n---\n", "A cup"),
        ('{"title":"A cup","weight":"9","description":"The cat."}\n', "A cup"),
        ('{"title": "A cup",\n "b": [1,\n\n 2]}\n', "A cup"),
        ('\n{\n  "a": "}",\n\n  "title": "A \\"cup\\""\n}\n', 'A "cup"'),
        ('+++\n# c\n\ntitle = """A\ncup"""\n+++\n', "A cup"),
        ("+++\ntitle = 'not closed\n+++\n", "not closed"),
        ("% A cup\n  of coffee\n% Jane Doe; John\n% 2024\n", "A cup of coffee"),
        ("%\n% Jane Doe\n", ""),
        ("Title:  A cup\n    of coffee\nAuthor: Jane\nDate: 2024-01-01\n", "A cup of coffee"),
        ("date: 2024\ntitle: A cup\nmy-key: x\n", "A cup"),
        ("---\ntitle: >-\n  A slow morning with\n  the cat\nlayout: post\n---\n", "A slow morning with the cat"),
        ("---\ntitle: |\n  A slow\n  morning\n---\n", "A slow morning"),
        ("---\ntitle: The cat came\n  close\ndraft: no\n---\n", "The cat came close"),
        ("---\ntitle: 'It''s a cup' # draft\n---\n", "It's a cup"),
        ('---\ntitle: "A \\u4e00 \\"cup\\"" # draft\n---\n', 'A 一 "cup"'),
        ("---\ntitle: 2024\n---\n", "2024"),
        ("---\ntitle: ~\n---\n", ""),
        ("---\na: &x [1]\ntitle: &t A cup\nb: *x\n---\n", "A cup"),
    ],
)  # fmt: skip
def test_metadata_are_one_block_and_give_the_title(front: str, title: str) -> None:
    blocks = split_blocks(f"{front}\n{PROSE}")
    assert [(block.kind, block.prose) for block in blocks] == [
        (Kind.FRONT_MATTER, ""),
        (Kind.PARAGRAPH, PROSE.strip()),
    ]
    assert find_spots(blocks) == [1]
    assert find_title(blocks) == (title or "I made a cup of espresso in the …")
    assert "".join(block.text for block in blocks) == f"{front}\n{PROSE}"
    assert [token.content for token in parse(f"{front}\n{PROSE}") if token.type == "inline"] == [PROSE.strip()]


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nSome prose between rules.\n\n---\n", "---\n- a list\n- of words\n---\n", "Note: the cat came close.\n",
        "Anna: Hello there.\nBob: Good morning.\n", "%% a comment %%\n", "{brace} some words\n", "100% of the words\n",
        "--- words after dashes\n", "Title of a text\n", "See http://example.org for more.\n", "+++\nnever closed\n",
        "---\ntitle: never closed\n", "% a\nb c d words\n",
        "---\n!!python/object/apply:os.getcwd []\n---\n",
    ],
)  # fmt: skip
def test_prose_is_no_metadata(text: str) -> None:
    assert count_front_matter_lines(f"{text}\nMore words here.\n") == 0


@pytest.mark.parametrize(
    "unit", ["- ", "[", "{", "a: ", "? ", "&a ", "a:\n", "  \n", "'", "#\n", "!", "a: [\n", "%", "a: {"]
)
def test_hostile_metadata_are_read_in_bounded_time(unit: str) -> None:
    for size in (60_000, 1_000_000):
        text = f"---\nk: v\n{unit * (size // len(unit))}\n---\n\n{PROSE}"
        assert "".join(block.text for block in split_blocks(text)) == text


def test_a_page_has_metadata_but_no_heads() -> None:
    page = "---\nlayout: post\ntitle: Coffee\nexcerpt: <p>The cat stood.</p>\n---\n<h1>T</h1>\n<p>I made a cup.</p>\n"
    blocks = split_blocks(page, "html")
    assert blocks[0].kind is Kind.FRONT_MATTER
    assert [blocks[number].prose for number in find_spots(blocks)] == ["I made a cup."]
    assert find_title(blocks, "html") == "Coffee"
    assert "".join(block.text for block in blocks) == page
    assert count_front_matter_lines("Title: x\n\n<p>Words.</p>", with_heads=False) == 0


@pytest.mark.parametrize("colon", [":", "：", ":**", ":_", "：”"])
@pytest.mark.parametrize("following", ["- a\n- b", "1. a", "> quote", "```\ncode\n```", "| a |\n|---|\n| b |", "    x"])
def test_no_image_parts_a_colon_from_what_it_announces(colon: str, following: str) -> None:
    opening = "" if colon[-1] not in "*_" else colon[1:]
    blocks = split_blocks(f"{opening}Here is what you need{colon}\n\n{following}\n\nMore words here.\n")
    assert [blocks[number].prose for number in find_spots(blocks)] == ["More words here."]


def test_a_colon_before_a_paragraph_parts_nothing() -> None:
    blocks = split_blocks("Here is what came:\n\nThe cat came close.\n\nIt slept: here.\n\n- a list\n")
    assert find_spots(blocks) == [0, 1, 2]
    page = split_blocks("<p>You need:</p>\n<ul><li>x</li></ul><p>You <b>need:</b></p><p>More words.</p>", "html")
    assert [page[number].prose for number in find_spots(page)] == ["You need:", "More words."]
    text = split_blocks("You need this:\n\n- a bean\n- water\n\nMore words.", "text")
    assert [text[number].prose for number in find_spots(text)] == ["More words."]
