"""The weightless model obeys the interface."""

import pytest
from PIL import Image

from xcomp_model import load
from xcomp_model.base import Brief, ImagePart, ModelFailure, Section, Turn
from xcomp_model.selection import select

IMAGES = [ImagePart(f"p{i}", Image.new("RGB", (4, 4))) for i in range(9)]


def test_echo_repeats_the_last_words() -> None:
    model = load("echo")
    prompts = model.prompts
    prompt = prompts.write(Brief("a story", outline="one\ntwo", keywords=("cat",)))
    assert "".join(model.stream(prompt, prompts.sampling("write"))) == "a story\none\ntwo\ncat"
    answer = "".join(model.stream(prompts.spot(["a", "b", "c"], count=2), prompts.sampling("spot")))
    assert prompts.parse_spots(answer, sections=3) == (0, 1)
    chat = prompts.chat([Turn("user", "hi"), Turn("assistant", "ho"), Turn("user", "what now?")])
    assert list(model.stream(chat, prompts.sampling("chat"))) == ["what ", "now?"]


def test_echo_stops_when_it_is_cancelled() -> None:
    model = load("echo")
    assert (
        list(model.stream(model.prompts.write(Brief("a b c")), model.prompts.sampling("write"), is_cancelled=bool))
        != []
    )
    is_cancelled = model.stream(
        model.prompts.write(Brief("a")), model.prompts.sampling("write"), is_cancelled=lambda: True
    )
    assert list(is_cancelled) == []


def test_echo_prefers_the_first_candidate_in_every_round() -> None:
    choice = select(load("echo"), [Section("text")], IMAGES)
    assert sum(choice.probabilities) == pytest.approx(1)
    assert choice.probabilities.index(max(choice.probabilities)) == 0
    assert select(load("echo"), [], IMAGES[:1]).probabilities == (1.0,)


def test_a_choice_without_candidates_and_an_empty_prompt_are_errors() -> None:
    with pytest.raises(ModelFailure, match="nothing to choose from"):
        select(load("echo"), [], [])
    with pytest.raises(ModelFailure, match="empty"):
        list(load("echo").stream((), load("echo").prompts.sampling("chat")))
