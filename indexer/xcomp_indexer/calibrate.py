"""How far a score stands out of a repository, so that "nothing fits" can be an answer.

A cosine means nothing by itself: it depends on the model, the query and the pictures around. So a score is compared
with the scores of the same query over a sample of the repository (`standout`, in standard deviations), and the standout
with those that the best hits of background queries reach, which ask for nothing in particular (`confidence`).
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed import Vectors
from xcomp_indexer.store import InSpace, Near, Store

SAMPLE = 2000  # vectors; the standard error of a standard deviation is then below 2 %


@dataclass(frozen=True)
class Calibration:
    """The scale of one space of one repository at one moment."""

    sample: Vectors  # [N, D], at most 2000 of the repository's vectors
    background: NDArray[np.float64]  # ascending standouts of the background queries' best hits

    def standouts(self, query: NDArray[np.float32], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns standard deviations above the mean score of the query [D] over the sample."""
        if len(self.sample) < 2:
            return np.zeros_like(scores)
        everywhere = self.sample @ query
        spread = max(float(everywhere.std()), 1e-6)
        return np.asarray((scores - everywhere.mean()) / spread, dtype=np.float64)

    def confidence(self, standout: float) -> float:
        """Returns the share of background queries whose best hit stands out less, 0..1."""
        if not len(self.background):
            return 0.0
        return float(np.searchsorted(self.background, standout)) / len(self.background)


def calibrate(store: Store, space: str, background: Vectors) -> Calibration:
    """Samples a space and sends the background queries through it.

    Ids are hashes, so the first points in their order are a random sample.
    """
    first = itertools.islice(store.scan(fields=(), where=InSpace(space), vectors=True), SAMPLE)
    vectors = [point.vectors[space] for point in first]
    if not vectors:
        return Calibration(np.empty((0, background.shape[1]), dtype=np.float32), np.empty(0))
    scale = Calibration(np.stack(vectors), np.empty(0))
    best = store.near([Near(space, query, limit=1) for query in background])
    tops = [
        scale.standouts(query, np.asarray([found[0].score]))[0]
        for query, found in zip(background, best, strict=True)
        if found
    ]
    return Calibration(scale.sample, np.sort(np.asarray(tops, dtype=np.float64)))
