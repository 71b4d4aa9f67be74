"""How far a score stands out of a repository, so that "nothing fits" can be an answer.

A cosine means little by itself: it depends on the model, the query and the pictures around. So a score is compared
with the scores of the same query over a sample of the repository (`standout`, in standard deviations). Standing out
tells right hits from wrong ones but not wishes from idle talk, the cosine does the opposite; their product, the
evidence, does both (docs/benchmarks.md). A hit's `confidence` compares it with the evidence that the best hits of
background queries give, which ask for nothing in particular.
"""

import itertools
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed import Vectors
from xcomp_indexer.store import InSpace, Near, Store

SAMPLE = 2000  # vectors; the standard error of a standard deviation is then below 2 %


@dataclass(frozen=True)
class Calibration:
    """The scale of one space of one repository at one moment."""

    sample: Vectors  # [N, D], at most 2000 of the repository's vectors
    standing: NDArray[np.float64] = field(
        default_factory=lambda: np.empty(0)
    )  # of the background's best hits, ascending
    evidence: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # of the same hits, ascending

    def standouts(self, query: NDArray[np.float32], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns standard deviations above the mean score of the query [D] over the sample."""
        if len(self.sample) < 2:
            return np.zeros_like(scores)
        everywhere = self.sample @ query
        spread = max(float(everywhere.std()), 1e-6)
        return np.asarray((scores - everywhere.mean()) / spread, dtype=np.float64)

    def confidence(self, standout: float, score: float) -> float:
        """Returns the share of background queries whose best hit gives less evidence, 0..1."""
        if not len(self.evidence):
            return 0.0
        return float(np.searchsorted(self.evidence, _evidence(standout, score))) / len(self.evidence)

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
    best = store.near([Near(space, query, limit=1) for query in background])
    tops = [
        (float(scale.standouts(query, np.asarray([found[0].score]))[0]), found[0].score)
        for query, found in zip(background, best, strict=True)
        if found
    ]
    standing = np.sort(np.asarray([standout for standout, _ in tops], dtype=np.float64))
    evidence = np.sort(np.asarray([_evidence(*top) for top in tops], dtype=np.float64))
    return Calibration(scale.sample, standing, evidence)


def _evidence(standout: float, score: float) -> float:
    return standout * max(score, 0.0)
