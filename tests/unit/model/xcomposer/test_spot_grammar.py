"""The grammar of an answer that names spots."""

import pytest

from xcomp_model.xcomposer.prompts.spot_grammar import SpotGrammar

TWO = SpotGrammar((1, 4, 12, 13), count=2, apart=2)
SOME = SpotGrammar((1, 2), count=None, apart=1)


@pytest.mark.parametrize(
    "text",
    ["", " ", "<", "<Se", "<Seg1", "<Seg12", "<Seg1>", "<Seg1>,", "<Seg1>， ", "<Seg13>、<Seg4>", " <Seg4>, <Seg1>."],
)
def test_a_text_that_can_become_an_answer_is_a_prefix(text: str) -> None:
    assert TWO.is_prefix(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "no mark"), ("<S<", "a mark in a mark"), ("  ", "several blanks"), ("<Seg2", "not free"),
        ("<Seg>", "no number"),
        ("<Seg01", "no such mark"), ("<Seg1>, ,", "several commas"), ("<Seg1>.", "one mark is missing"),
        ("<Seg4><Seg4", "twice"), ("<Seg12>, <Seg13", "too near"), ("<Seg1>, <Seg4>,", "no third mark is allowed"),
        ("<Seg1>, <Seg4>. ", "text after the end"),
    ],
)  # fmt: skip
def test_other_texts_are_not_prefixes(text: str, why: str) -> None:
    assert not TWO.is_prefix(text), why


def test_an_answer_is_complete_with_all_its_marks() -> None:
    ends = [
        text for text in ("", "<Seg1>", "<Seg1>, <Seg4", "<Seg1>, <Seg4>", "<Seg1>, <Seg4>。") if TWO.is_complete(text)
    ]
    assert ends == ["<Seg1>, <Seg4>", "<Seg1>, <Seg4>。"]


def test_without_a_count_one_mark_is_enough_and_all_are_allowed() -> None:
    assert not SOME.is_complete("")
    assert SOME.is_complete("<Seg2>.")
    assert SOME.is_prefix("<Seg2>, <Seg1>.")
    assert not SOME.is_prefix("<Seg2>, <Seg1>,")
