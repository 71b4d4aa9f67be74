"""Images are dealt to spots so that the whole is best."""

import itertools
import random
from collections.abc import Sequence

import pytest

from xcomp_composer.illustrate.retrieval.assignment import NEIGHBORS, assign, select_spots


def total(values: list[dict[str, float]], images: list[str | None]) -> float:
    return sum(offers[image] for offers, image in zip(values, images, strict=True) if image)


def best_total(values: list[dict[str, float]]) -> float:
    options = [[None, *offers] for offers in values]
    return max(
        total(values, list(images))
        for images in itertools.product(*options)
        if len(set(filter(None, images))) == sum(image is not None for image in images)
    )


@pytest.mark.parametrize("seed", range(30))
def test_assignment_is_the_best_there_is(seed: int) -> None:
    chance = random.Random(seed)
    images = "abcde"[: chance.randint(1, 5)]
    values = [
        {image: chance.uniform(-1, 5) for image in images if chance.random() < 0.8} for _ in range(chance.randint(1, 5))
    ]
    assert total(values, assign(values)) == pytest.approx(best_total(values), abs=0.05)


def test_greed_would_lose_what_the_assignment_keeps() -> None:
    assert assign([{"a": 5.0, "b": 4.9}, {"a": 4.0}]) == ["b", "a"]


def test_a_image_that_gains_nothing_is_not_chosen() -> None:
    assert assign([{"a": 0.0}, {"b": -1.0}, {}]) == [None, None, None]


def test_no_image_is_chosen_twice() -> None:
    chosen = [image for image in assign([{"a": 1.0, "b": 1.0}] * 5) if image]
    assert sorted(chosen) == ["a", "b"]


def test_spread_takes_the_best_and_keeps_to_the_limit() -> None:
    assert select_spots([4.0, 1.0, 3.0, 2.0], [0, 2, 4, 6], limit=2) == [0, 2]


def test_spread_leaves_a_weak_neighbour_out_and_keeps_a_strong_one() -> None:
    assert select_spots([3.0, 0.2, 3.0], [0, 1, 2], limit=9) == [0, 2]
    assert select_spots([3.0, 2.0, 3.0], [0, 1, 2], limit=9) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(30))
def test_spread_is_the_best_there_is(seed: int) -> None:
    chance = random.Random(seed)
    positions = sorted(chance.sample(range(14), 9))
    values, limit = [chance.uniform(-0.5, 1) for _ in positions], chance.randint(0, 9)

    def gain(chosen: Sequence[int]) -> float:
        beside = sum(positions[b] - positions[a] == 1 for a, b in itertools.pairwise(chosen))
        return sum(values[index] for index in chosen) - NEIGHBORS * beside

    best = max(gain(chosen) for count in range(limit + 1) for chosen in itertools.combinations(range(9), count))
    found = select_spots(values, positions, limit)
    assert gain(found) == pytest.approx(best)
    assert len(found) <= limit
    assert found == sorted(found)


def test_spread_of_nothing_is_nothing() -> None:
    assert select_spots([0.0, -1.0], [0, 1], limit=5) == []
    assert select_spots([3.0], [0], limit=0) == []
