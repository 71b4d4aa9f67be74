"""Reciprocal rank fusion and maximal marginal relevance."""

import numpy as np
import pytest

from xcomp_indexer.search.ranking import (
    diversify,
    fold,
    reciprocal_rank,
)


def test_one_ranking_keeps_its_order() -> None:
    assert [id_ for id_, _ in reciprocal_rank({"en": ["b", "a", "c"]})] == ["b", "a", "c"]


def test_scores_are_the_sum_of_inverse_ranks() -> None:
    fused = dict(reciprocal_rank({"en": ["a", "b"], "zh": ["b", "c"]}))
    assert fused == pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61, "c": 1 / 62})


def test_equal_scores_are_ordered_by_id() -> None:
    assert [id_ for id_, _ in reciprocal_rank({"en": ["b"], "zh": ["a"]})] == ["a", "b"]


def test_weights_shift_the_balance() -> None:
    id_, score = reciprocal_rank({"en": ["a"], "zh": ["b"]}, weights={"zh": 2})[0]
    assert (id_, score) == ("b", 2 / 61)


def test_no_rankings_give_nothing() -> None:
    assert reciprocal_rank({}) == []


VECTORS = np.asarray([[1, 0, 0], [0.999, 0.0447, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)


def test_without_diversity_relevance_decides() -> None:
    assert diversify([0.9, 0.8, 0.7, 0.6], VECTORS, diversity=0, k=3) == [0, 1, 2]


def test_with_diversity_a_near_copy_comes_late() -> None:
    assert diversify([0.9, 0.8, 0.7, 0.6], VECTORS, diversity=0.5, k=3) == [0, 2, 3]


def test_full_diversity_still_starts_with_something() -> None:
    assert len(set(diversify([0.9, 0.8, 0.7, 0.6], VECTORS, diversity=1, k=4))) == 4


def test_asking_for_more_than_there_is_gives_all() -> None:
    assert sorted(diversify([0.1, 0.2, 0.3, 0.4], VECTORS, diversity=0.3, k=99)) == [0, 1, 2, 3]


def test_near_copies_are_counted_by_the_best_of_them() -> None:
    assert fold([VECTORS], 0.99) == {0: 1, 2: 0, 3: 0}
    assert fold([VECTORS], 0.9999) == {0: 0, 1: 0, 2: 0, 3: 0}
    assert fold([VECTORS[[0, 0, 2]]], 1.0) == {0: 1, 2: 0}


def test_copies_look_alike_in_every_space() -> None:
    assert fold([VECTORS, VECTORS[[0, 2, 1, 3]]], 0.99) == {0: 0, 1: 0, 2: 0, 3: 0}
    assert fold([VECTORS, np.zeros_like(VECTORS)], 0.5) == {0: 0, 1: 0, 2: 0, 3: 0}
