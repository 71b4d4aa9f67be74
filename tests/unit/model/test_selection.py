"""A close choice is asked for twice, within an allowance of tokens."""

import random
from pathlib import Path

import pytest
from PIL import Image

from tests.actor import Actor
from tests.checkpoints import write_checkpoint
from xcomp_model import load, selection
from xcomp_model.base import ImagePart, Prompt, Section
from xcomp_model.selection import EXTRA, Allowance, select
from xcomp_model.xcomposer.model import XComposer

IMAGES = [ImagePart(str(number), Image.new("RGB", (4, 4))) for number in range(4)]
SURE, CLOSE = (0.9, 0.05, 0.03, 0.02), (0.4, 0.35, 0.15, 0.1)


def shown(prompt: Prompt) -> list[str]:
    return [part.key for part in prompt if isinstance(part, ImagePart)]


def large_allowance() -> Allowance:
    return Allowance(first=10**6)


def test_a_clear_choice_is_asked_for_once() -> None:
    actor = Actor()
    actor.choices = [SURE]
    choice = select(actor, [Section("words")], IMAGES, allowance=large_allowance())
    assert (choice.probabilities, choice.orders, choice.flipped) == (SURE, 1, False)


def test_a_close_choice_is_the_mean_of_two_orders() -> None:
    actor = Actor()
    actor.choices = [CLOSE, (0.1, 0.1, 0.2, 0.6)]  # the last letter is the first image now
    choice = select(actor, [Section("words")], IMAGES, allowance=large_allowance())
    first, second = (shown(prompt) for _, prompt in actor.asked)
    assert second == first[::-1]
    assert choice.probabilities == pytest.approx((0.5, 0.275, 0.125, 0.1))
    assert (choice.orders, choice.flipped) == (2, False)


def test_orders_that_disagree_are_a_flip() -> None:
    actor = Actor()
    actor.choices = [CLOSE, CLOSE]  # a model that decides by the letter
    choice = select(actor, [Section("words")], IMAGES, allowance=large_allowance())
    assert choice.flipped
    assert choice.probabilities[0] == choice.probabilities[3] == pytest.approx(0.25)


def test_second_readings_take_at_most_their_share_of_the_tokens() -> None:
    chance = random.Random(3)
    actor, allowance = Actor(), Allowance()
    once = total = 0
    for spot in range(40):
        sections = [Section("some words of a paragraph " * chance.randint(1, 9))] * (spot // 4 + 1)
        actor.choices = [CLOSE, CLOSE]
        actor.asked.clear()
        select(actor, sections, IMAGES[: chance.randint(2, 4)], allowance=allowance)
        once += actor.count_tokens(actor.asked[0][1])
        total += sum(actor.count_tokens(prompt) for _, prompt in actor.asked)
        assert total <= (1 + EXTRA) * once
    assert total > 1.2 * once  # the allowance is used


def test_a_single_choice_has_no_allowance() -> None:
    actor = Actor()
    actor.choices = [CLOSE]
    assert select(actor, [Section("words")], IMAGES).orders == 1


def test_second_readings_take_at_most_their_share_of_the_positions_that_a_decoder_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write_checkpoint(1, tmp_path))

    def positions(close: float) -> int:
        monkeypatch.setattr(selection, "CLOSE", close)
        model = load(folder)
        assert isinstance(model, XComposer)
        allowance, sections = Allowance(), list[Section]()
        for spot in range(9):
            sections += [Section(f"section {spot} " + "a cat on a mat " * 9)]
            offered = [ImagePart(f"{spot}.{n}", Image.new("RGB", (8, 8), (spot, n, 9))) for n in range(4)]
            select(model, sections, offered, allowance=allowance)
            sections[-1] = Section(sections[-1].text, offered[0])
        return model.positions_read

    once, twice = positions(-1.0), positions(2.0)  # no choice is close; every one is
    assert once < twice <= (1 + EXTRA) * once
