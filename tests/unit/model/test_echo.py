"""The weightless model obeys the seam."""

import pytest
from PIL import Image

from xcomp_model import load
from xcomp_model.base import Brief, ModelError, Picture, Section, Turn
from xcomp_model.selection import select

PICTURES = [Picture(f"p{i}", Image.new("RGB", (4, 4))) for i in range(9)]


def test_it_says_the_last_words_back() -> None:
    model = load("echo")
    prompts = model.prompts
    prompt = prompts.write(Brief("a story", outline="one\ntwo", keywords=("cat",)))
    assert "".join(model.stream(prompt, prompts.sampling("write"))) == "a story\none\ntwo\ncat"
    answer = "".join(model.stream(prompts.spot(["a", "b", "c"], count=2), prompts.sampling("spot")))
    assert prompts.spots_in(answer, sections=3) == (0, 1)
    chat = prompts.chat([Turn("user", "hi"), Turn("assistant", "ho"), Turn("user", "what now?")])
    assert list(model.stream(chat, prompts.sampling("chat"))) == ["what ", "now?"]


def test_it_stops_when_it_is_cancelled() -> None:
    model = load("echo")
    assert (
        list(model.stream(model.prompts.write(Brief("a b c")), model.prompts.sampling("write"), cancelled=bool)) != []
    )
    cancelled = model.stream(model.prompts.write(Brief("a")), model.prompts.sampling("write"), cancelled=lambda: True)
    assert list(cancelled) == []


def test_it_prefers_what_stands_first_in_every_round() -> None:
    choice = select(load("echo"), [Section("text")], PICTURES)
    assert sum(choice.probabilities) == pytest.approx(1)
    assert choice.probabilities.index(max(choice.probabilities)) == 0
    assert select(load("echo"), [], PICTURES[:1]).probabilities == (1.0,)


def test_nothing_to_choose_from_and_nothing_to_say_are_errors() -> None:
    with pytest.raises(ModelError, match="nothing to choose from"):
        select(load("echo"), [], [])
    with pytest.raises(ModelError, match="empty"):
        list(load("echo").stream((), load("echo").prompts.sampling("chat")))
