"""The form of an answer that names places."""

import pytest

from xcomp_model.xcomposer.prompts.spot_form import MarkedPlaces

TWO = MarkedPlaces((1, 4, 12, 13), count=2, apart=2)
SOME = MarkedPlaces((1, 2), count=None, apart=1)


@pytest.mark.parametrize(
    "said",
    ["", " ", "<", "<Se", "<Seg1", "<Seg12", "<Seg1>", "<Seg1>,", "<Seg1>， ", "<Seg13>、<Seg4>", " <Seg4>, <Seg1>."],
)
def test_what_can_become_an_answer_may_begin_so(said: str) -> None:
    assert TWO.may_begin(said)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("x", "no mark"), ("<S<", "a mark in a mark"), ("  ", "a loop of blanks"), ("<Seg2", "not free"),
        ("<Seg>", "no number"),
        ("<Seg01", "no such mark"), ("<Seg1>, ,", "a loop of commas"), ("<Seg1>.", "one is missing"),
        ("<Seg4><Seg4", "twice"), ("<Seg12>, <Seg13", "too near"), ("<Seg1>, <Seg4>,", "no more are wanted"),
        ("<Seg1>, <Seg4>. ", "it has ended"),
    ],
)  # fmt: skip
def test_what_cannot_may_not(said: str, why: str) -> None:
    assert not TWO.may_begin(said), why


def test_an_answer_ends_when_all_are_named() -> None:
    ends = [said for said in ("", "<Seg1>", "<Seg1>, <Seg4", "<Seg1>, <Seg4>", "<Seg1>, <Seg4>。") if TWO.may_end(said)]
    assert ends == ["<Seg1>, <Seg4>", "<Seg1>, <Seg4>。"]


def test_without_a_count_one_is_enough_and_all_are_allowed() -> None:
    assert not SOME.may_end("")
    assert SOME.may_end("<Seg2>.")
    assert SOME.may_begin("<Seg2>, <Seg1>.")
    assert not SOME.may_begin("<Seg2>, <Seg1>,")
