"""Plain text as people type it: wrapped lines, lists, quotes, signatures, and Chinese with its indentation."""

import pytest

from tests.unit.composer.document.test_dialects import places
from xcomp_composer.document.blocks import Kind
from xcomp_composer.document.splitting import find_title, split_blocks

WRAPPED = (
    "The ginger cat with green eyes came close to the camera that morning.\n"
    "I made a cup of espresso in the red cup on the wooden table, and\n"
    "nobody needed anything. The whole bed was pink tulips, hundreds of\n"
    "them. An old man had taken off his hat.\n"
)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_wrapped_lines_are_one_paragraph(end: str) -> None:
    blocks = split_blocks(WRAPPED.replace("\n", end), "text")
    assert [(block.kind, block.prose) for block in blocks] == [(Kind.PARAGRAPH, " ".join(WRAPPED.split()))]
    assert find_title(blocks, "text") == "The ginger cat with green eyes came close …"


@pytest.mark.parametrize(
    "text",
    [
        "One sentence is on its line here.\nAnother sentence is on the next one.\nThe last one is short.\n",
        "A title\nThe first paragraph goes on for a whole line without being wrapped at any width, to the end of it.\n",
        "short\nlines of a poem\nthat goes on\n",
    ],
)
def test_lines_of_their_own_are_paragraphs_or_headings(text: str) -> None:
    assert len(split_blocks(text, "text")) == text.count("\n")


@pytest.mark.parametrize(
    "item",
    [
        "1. Buy coffee beans.", "3) Repair the motorcycle.", "(2) Feed the cat.", "a) Buy some beans.", "1、买咖啡豆。",
        "（一）买咖啡豆和水。", "① 买咖啡豆和水。", "二、买咖啡豆和水。", "> The bed was tulips.", ">no space here.",
        "    code: some words", "\tcode: some words", "--------------------", "• A bean of coffee.", "iv. A bean.",
    ],
)  # fmt: skip
def test_lists_quotes_and_code_are_no_places(item: str) -> None:
    assert places(f"Words before it.\n\n{item}\n\nWords after it.\n", "text") == ["Words before it.", "Words after it."]


@pytest.mark.parametrize(
    "words", ["2024 was a good year.", "3.5 cups are enough.", "A cat came close.", "I. e. words."]
)
def test_words_that_begin_like_a_list_are_prose(words: str) -> None:
    assert places(f"{words}\n\nMore words here.\n", "text")[-1] == "More words here."
    assert words.startswith("I.") or places(f"{words}\n\nMore words here.\n", "text")[0] == words


def test_a_signature_is_no_prose() -> None:
    text = "The penguins stand on the ice.\n\n-- \nJane Doe, Coffee Ltd, 12 Street, Paris\n\nMore of a signature.\n"
    assert places(text, "text") == ["The penguins stand on the ice."]


def test_lines_with_the_indentation_of_chinese_are_paragraphs() -> None:
    text = "咖啡的早晨\n\n　　我用红色的杯子做了一杯咖啡。\n　　橘猫睁着绿眼睛走近镜头。\n　　花坛里全是郁金香。\n"
    assert places(text, "text") == ["我用红色的杯子做了一杯咖啡。", "橘猫睁着绿眼睛走近镜头。", "花坛里全是郁金香。"]
    assert find_title(split_blocks(text, "text"), "text") == "咖啡的早晨"


def test_whole_sentences_on_lines_of_their_own_are_paragraphs_below_a_title() -> None:
    text = "咖啡的早晨\n\n我用红色的杯子做了一杯咖啡。\n橘猫睁着绿眼睛走近镜头。\n"
    assert places(text, "text") == ["我用红色的杯子做了一杯咖啡。", "橘猫睁着绿眼睛走近镜头。"]
    wrapped = "咖啡的早晨\n\n我用红色的杯子在木桌上做了一杯\n浓缩咖啡。橘猫睁着绿眼睛走近镜头。\n"
    assert len(places(wrapped, "text")) == 1
    long = (
        "Words that go on for a whole line, which is much longer than what is wrapped at some width, to its end here."
    )
    assert len(places(f"A title\n\n{long}\n{long}\n", "text")) == 2
