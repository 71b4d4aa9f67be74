"""Standouts and confidences of scores."""

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


def weigh(calibration: Calibration, query: NDArray[np.float32], scores: list[float]) -> tuple[list[float], list[float]]:
    """Standouts and confidences of scores that a query [D] gave."""
    (stats,) = calibration.query_stats(query[None])
    standouts, confidences = calibration.weigh(stats, np.asarray(scores))
    return standouts.tolist(), confidences.tolist()


def test_a_standout_is_measured_in_standard_deviations_over_the_sample() -> None:
    sample, query = unit(500), unit(1, seed=1)[0]
    scores = sample @ query
    expected = (0.9 - scores.mean()) / scores.std()
    assert weigh(Calibration(sample), query, [0.9])[0] == pytest.approx([expected], rel=1e-5)


def test_statistics_of_a_batch_are_those_of_each_query_alone() -> None:
    calibration, queries = Calibration(unit(300)), unit(7, seed=1)
    together = calibration.query_stats(queries)
    for query, one in zip(queries, together, strict=True):
        assert one == pytest.approx(calibration.query_stats(query[None])[0], abs=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_stand_out_of_nothing(count: int) -> None:
    assert weigh(Calibration(unit(count), evidence=np.arange(9.0)), unit(1)[0], [0.9]) == ([0.0], [0.0])


def test_images_that_are_all_alike_give_finite_standouts() -> None:
    sample = np.repeat(unit(1), 5, axis=0)
    assert np.isfinite(weigh(Calibration(sample), unit(1)[0], [1.0])).all()


def test_confidence_is_the_share_of_background_queries_with_less_evidence() -> None:
    sample, query = unit(40), unit(1, seed=1)[0]
    best = float((sample @ query).max())
    background = unit(4, seed=2)
    calibration = Calibration(sample).with_background(background, [float((sample @ each).max()) for each in background])
    standout = (best - (sample @ query).mean()) / (sample @ query).std()
    lead = (best - np.sort(sample @ query)[-6:-1].mean()) / (sample @ query).std()
    below = (calibration.evidence < (standout + 4 * lead) * best).sum() / 4
    assert weigh(calibration, query, [-0.5, best, 1.0])[1] == [0.0, below, 1.0]


def test_a_lead_over_the_runners_up_is_evidence() -> None:
    """Where several images fit about equally well, the best of them is less sure."""
    query = np.ones(1, dtype=np.float32)
    alone = Calibration(np.asarray([[0.9], *[[0.1]] * 20], dtype=np.float32))
    crowded = Calibration(np.asarray([[0.9], *[[0.8]] * 10, *[[0.1]] * 10], dtype=np.float32))
    first, second = (calibration.with_background(query[None], [0.9]).evidence[0] for calibration in (alone, crowded))
    assert first > 2 * second


def test_the_background_is_described_by_its_median_and_ninth_decile() -> None:
    assert Calibration(unit(2), np.arange(11.0)).background == (5.0, 9.0)
    assert Calibration(unit(2)).background is None


def test_without_a_background_nothing_is_sure() -> None:
    assert weigh(Calibration(unit(2)), unit(1)[0], [1.0])[1] == [0.0]


def test_calibrating_searches_the_store_for_each_background_query() -> None:
    store = open_stores("memory:").create("r", {"s": 8})
    empty = calibrate(store, "s", unit(3))
    assert (empty.sample.shape, len(empty.standouts)) == ((0, 8), 0)
    store.upsert([Point(str(uuid.UUID(int=at)), {"s": vector}, {}) for at, vector in enumerate(unit(40))])
    calibration = calibrate(store, "s", unit(3, seed=2))
    assert calibration.sample.shape == (40, 8)
    assert len(calibration.standouts) == len(calibration.evidence) == 3
    assert (np.diff(calibration.standouts) >= 0).all()
