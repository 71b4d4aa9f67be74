"""How far a score stands out of a repository, so that "nothing fits" can be an answer.

A cosine means little by itself: it depends on the model, the query and the pictures around. So a score is compared
with the scores of the same query over a sample of the repository (`standout`, in standard deviations). Standing out
tells right hits from wrong ones, the more so the clearer the lead over the runners-up, but not wishes from idle talk;
the cosine does the opposite. Their product, the evidence, does both (docs/benchmarks.md). A hit's `confidence` compares
it with the evidence that the best hits of background queries give, which ask for nothing in particular.
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
    """What a query scores over the sample of a space."""

    mean: float
    spread: float  # standard deviation
    runners_up: float  # mean of the best scores without the very best


@dataclass(frozen=True)
class Calibration:
    """The scale of one space of one repository at one moment."""

    sample: Vectors  # [N, D], at most 2000 of the repository's vectors
    standing: NDArray[np.float64] = field(
        default_factory=lambda: np.empty(0)
    )  # of the background's best hits, ascending
    evidence: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # of the same hits, ascending

    def yardsticks(self, queries: Vectors) -> list[QueryStats | None]:
        """Measures queries [B, D] at the sample, all of them in one go; None where there is nothing to measure at."""
        if len(self.sample) < 2:
            return [None] * len(queries)
        everywhere = (queries @ self.sample.T).astype(np.float64)  # [B, N]
        spreads = np.maximum(everywhere.std(axis=1), 1e-6)
        return list(
            map(QueryStats, everywhere.mean(axis=1).tolist(), spreads.tolist(), _runners_up(everywhere).tolist())
        )

    def weigh(self, yardstick: QueryStats | None, scores: Scores) -> tuple[Scores, Scores]:
        """Returns the standouts and the confidences of scores [N] that the query of a yardstick gave.

        A standout counts standard deviations above the query's mean score over the sample; a confidence is the share
        of background queries whose best hit gives less evidence, 0..1.
        """
        standouts, evidence = _weighed(yardstick, scores)
        confidences = np.searchsorted(self.evidence, evidence) / max(len(self.evidence), 1)
        return standouts, np.asarray(confidences, dtype=np.float64)

    def measured(self, queries: Vectors, best: Sequence[float]) -> "Calibration":
        """Returns the scale with a background: queries [B, D] with the scores of their best hits."""
        tops = [
            _weighed(yardstick, np.asarray([score]))
            for yardstick, score in zip(self.yardsticks(queries), best, strict=True)
        ]
        standing = np.sort(np.asarray([standouts[0] for standouts, _ in tops], dtype=np.float64))
        evidence = np.sort(np.asarray([evidence[0] for _, evidence in tops], dtype=np.float64))
        return Calibration(self.sample, standing, evidence)

    @cached_property
    def background(self) -> tuple[float, float] | None:
        """Median and ninth decile of the background's standouts; None in an empty repository."""
        if not len(self.standing):
            return None
        median, ninth_decile = np.quantile(self.standing, (0.5, 0.9))
        return float(median), float(ninth_decile)


def calibrate(store: Store, space: str, background: Vectors) -> Calibration:
    """Samples a space and sends the background queries through it.

    Ids are hashes, so the first points in their order are a random sample.
    """
    first = itertools.islice(store.scan(fields=(), where=InSpace(space), vectors=True), SAMPLE)
    vectors = [point.vectors[space] for point in first]
    if not vectors:
        return Calibration(np.empty((0, background.shape[1]), dtype=np.float32))
    scale = Calibration(np.stack(vectors))
    best = store.near([VectorQuery(space, query, limit=1, told=0, ties=False) for query in background])
    answered = [at for at, found in enumerate(best) if found]
    return scale.measured(background[answered], [best[at][0].score for at in answered])


def _weighed(yardstick: QueryStats | None, scores: Scores) -> tuple[Scores, Scores]:
    """Returns the standouts and the evidence of scores."""
    if yardstick is None:
        return np.zeros_like(scores), np.zeros_like(scores)
    standouts = (scores - yardstick.mean) / yardstick.spread
    leads = (scores - yardstick.runners_up) / yardstick.spread
    return standouts, (standouts + _LEAD * leads) * np.maximum(scores, 0.0)


def _runners_up(scores: Scores) -> Scores:
    """Returns the mean of the best scores without the very best, of each row [B, N]."""
    count = min(_RUNNERS_UP + 1, scores.shape[1])
    best = np.partition(scores, scores.shape[1] - count, axis=1)[:, -count:]
    return np.asarray((best.sum(axis=1) - best.max(axis=1)) / (count - 1))
