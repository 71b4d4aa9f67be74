"""How far a score stands out, and how sure that makes."""

import uuid

import numpy as np
import pytest
from numpy.typing import NDArray

from xcomp_indexer.search.calibration import Calibration, calibrate
from xcomp_indexer.store import Point
from xcomp_indexer.store.factory import open_stores


def unit(count: int, width: int = 8, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def weighed(scale: Calibration, query: NDArray[np.float32], scores: list[float]) -> tuple[list[float], list[float]]:
    """Standouts and confidences of scores that a query [D] gave."""
    (yardstick,) = scale.yardsticks(query[None])
    standouts, confidences = scale.weigh(yardstick, np.asarray(scores))
    return standouts.tolist(), confidences.tolist()


def test_a_standout_is_measured_in_standard_deviations_over_the_sample() -> None:
    sample, query = unit(500), unit(1, seed=1)[0]
    scores = sample @ query
    expected = (0.9 - scores.mean()) / scores.std()
    assert weighed(Calibration(sample), query, [0.9])[0] == pytest.approx([expected], rel=1e-5)


def test_queries_that_are_measured_together_give_what_each_gives_alone() -> None:
    scale, queries = Calibration(unit(300)), unit(7, seed=1)
    together = scale.yardsticks(queries)
    for query, one in zip(queries, together, strict=True):
        assert one == pytest.approx(scale.yardsticks(query[None])[0], abs=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_stand_out_of_nothing(count: int) -> None:
    assert weighed(Calibration(unit(count), evidence=np.arange(9.0)), unit(1)[0], [0.9]) == ([0.0], [0.0])


def test_images_that_are_all_alike_give_finite_standouts() -> None:
    sample = np.repeat(unit(1), 5, axis=0)
    assert np.isfinite(weighed(Calibration(sample), unit(1)[0], [1.0])).all()


def test_confidence_is_the_share_of_background_queries_with_less_evidence() -> None:
    sample, query = unit(40), unit(1, seed=1)[0]
    best = float((sample @ query).max())
    background = unit(4, seed=2)
    scale = Calibration(sample).measured(background, [float((sample @ each).max()) for each in background])
    standout = (best - (sample @ query).mean()) / (sample @ query).std()
    lead = (best - np.sort(sample @ query)[-6:-1].mean()) / (sample @ query).std()
    below = (scale.evidence < (standout + 4 * lead) * best).sum() / 4
    assert weighed(scale, query, [-0.5, best, 1.0])[1] == [0.0, below, 1.0]


def test_a_lead_over_the_runners_up_is_evidence() -> None:
    """Where several pictures fit about as well, the best of them is the less sure one."""
    query = np.ones(1, dtype=np.float32)
    alone = Calibration(np.asarray([[0.9], *[[0.1]] * 20], dtype=np.float32))
    crowded = Calibration(np.asarray([[0.9], *[[0.8]] * 10, *[[0.1]] * 10], dtype=np.float32))
    first, second = (scale.measured(query[None], [0.9]).evidence[0] for scale in (alone, crowded))
    assert first > 2 * second


def test_the_background_is_told_by_its_median_and_ninth_decile() -> None:
    assert Calibration(unit(2), np.arange(11.0)).background == (5.0, 9.0)
    assert Calibration(unit(2)).background is None


def test_without_a_background_nothing_is_sure() -> None:
    assert weighed(Calibration(unit(2)), unit(1)[0], [1.0])[1] == [0.0]


def test_calibrating_asks_the_store_for_each_background_query() -> None:
    store = open_stores("memory:").create("r", {"s": 8})
    empty = calibrate(store, "s", unit(3))
    assert (empty.sample.shape, len(empty.standing)) == ((0, 8), 0)
    store.upsert([Point(str(uuid.UUID(int=at)), {"s": vector}, {}) for at, vector in enumerate(unit(40))])
    scale = calibrate(store, "s", unit(3, seed=2))
    assert scale.sample.shape == (40, 8)
    assert len(scale.standing) == len(scale.evidence) == 3
    assert (np.diff(scale.standing) >= 0).all()
