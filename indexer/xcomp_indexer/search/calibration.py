"""Measures how far a score stands out of a repository, so that a search can answer "nothing fits".

A cosine alone means little: it depends on the model, the query and the other images. A score is therefore compared
with the scores of the same query over a sample of the repository (`standout`, a z-score). A large standout tells right
hits from wrong ones, the more so the larger the lead over the runners-up, but it does not tell requests for an image
from idle text; the cosine does the opposite. Their product, the evidence, does both (docs/benchmarks.md). The
`confidence` of a hit compares its evidence with that of the best hits of background queries, which ask for nothing in
particular.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.store import InSpace, Store, VectorQuery

Scores: TypeAlias = NDArray[np.float64]

SAMPLE = 2000  # vectors; the standard error of a standard deviation is then below 2 %
_RUNNERS_UP = 5  # scores after the best one
_LEAD = 4.0  # weight of the lead over them beside the standout


class QueryStats(NamedTuple):
    """Statistics of the scores of a query over the sample of a space."""

    mean: float
    spread: float  # standard deviation
    runners_up: float  # mean of the best scores without the very best


@dataclass(frozen=True)
class Calibration:
    """Score statistics of one space of one repository at one moment."""

    sample: Vectors  # [N, D], at most 2000 of the repository's vectors
    standouts: Scores = field(default_factory=lambda: np.empty(0))  # of the background's best hits, ascending
    evidence: Scores = field(default_factory=lambda: np.empty(0))  # of the same hits, ascending

    def query_stats(self, queries: Vectors) -> list[QueryStats | None]:
        """Compute the statistics of queries [B, D] over the sample; None where the sample is too small."""
        if len(self.sample) < 2:
            return [None] * len(queries)
        scores = (queries @ self.sample.T).astype(np.float64)  # [B, N]
        spreads = np.maximum(scores.std(axis=1), 1e-6)
        return list(map(QueryStats, scores.mean(axis=1).tolist(), spreads.tolist(), _runners_up(scores).tolist()))

    def weigh(self, stats: QueryStats | None, scores: Scores) -> tuple[Scores, Scores]:
        """Return the standouts and the confidences of scores [N] of one query.

        A standout counts standard deviations above the query's mean score over the sample; a confidence is the share
        of background queries whose best hit gives less evidence, 0..1.
        """
        standouts, evidence = _weigh(stats, scores)
        confidences = np.searchsorted(self.evidence, evidence) / max(len(self.evidence), 1)
        return standouts, np.asarray(confidences, dtype=np.float64)

    def with_background(self, queries: Vectors, best: Sequence[float]) -> "Calibration":
        """Return the calibration with a background: queries [B, D] and the scores of their best hits."""
        tops = [
            _weigh(stats, np.asarray([score])) for stats, score in zip(self.query_stats(queries), best, strict=True)
        ]
        standouts = np.sort(np.asarray([standouts[0] for standouts, _ in tops], dtype=np.float64))
        evidence = np.sort(np.asarray([evidence[0] for _, evidence in tops], dtype=np.float64))
        return Calibration(self.sample, standouts, evidence)

    @cached_property
    def background(self) -> tuple[float, float] | None:
        """Median and ninth decile of the background's standouts; None in an empty repository."""
        if not len(self.standouts):
            return None
        median, ninth_decile = np.quantile(self.standouts, (0.5, 0.9))
        return float(median), float(ninth_decile)


def calibrate(store: Store, space: str, background: Vectors) -> Calibration:
    """Sample a space and search it for the background queries.

    Ids are hashes, so the first points in their order are a random sample.
    """
    first = itertools.islice(store.scan(fields=(), where=InSpace(space), vectors=True), SAMPLE)
    vectors = [point.vectors[space] for point in first]
    if not vectors:
        return Calibration(np.empty((0, background.shape[1]), dtype=np.float32))
    calibration = Calibration(np.stack(vectors))
    queries = [VectorQuery(space, query, limit=1, payload_limit=0, stable_order=False) for query in background]
    best = store.near(queries)
    answered = [at for at, hits in enumerate(best) if hits]
    return calibration.with_background(background[answered], [best[at][0].score for at in answered])


def _weigh(stats: QueryStats | None, scores: Scores) -> tuple[Scores, Scores]:
    """Return the standouts and the evidence of scores."""
    if stats is None:
        return np.zeros_like(scores), np.zeros_like(scores)
    standouts = (scores - stats.mean) / stats.spread
    leads = (scores - stats.runners_up) / stats.spread
    return standouts, (standouts + _LEAD * leads) * np.maximum(scores, 0.0)


def _runners_up(scores: Scores) -> Scores:
    """Return the mean of the best scores without the very best, of each row [B, N]."""
    count = min(_RUNNERS_UP + 1, scores.shape[1])
    best = np.partition(scores, scores.shape[1] - count, axis=1)[:, -count:]
    return np.asarray((best.sum(axis=1) - best.max(axis=1)) / (count - 1))
