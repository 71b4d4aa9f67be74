"""Puts the rankings of several spaces together: weighted reciprocal rank fusion, maximal marginal relevance, and
the folding of near copies.

Ranks, not scores, are fused, since the cosines of different models mean different things.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from xcomp_indexer.embed import Vectors

RRF_K = 60  # Cormack, Clarke and Buettcher 2009; engines default to other values, so it is always ours
_ROUNDING = 1e-5  # of the cosine of a vector with itself


def reciprocal_rank(
    rankings: Mapping[str, Sequence[str]], *, weights: Mapping[str, float] | None = None
) -> list[tuple[str, float]]:
    """Fuses rankings of ids: score(id) = sum over rankings of weight / (60 + rank), ranks from 1.

    Returns ids with their score, best first, equal scores by id.
    """
    scores: dict[str, float] = {}
    for name, ranking in rankings.items():
        weight = (weights or {}).get(name, 1.0)
        for rank, id_ in enumerate(ranking, start=1):
            scores[id_] = scores.get(id_, 0.0) + weight / (RRF_K + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def diversify(relevance: Sequence[float], vectors: Vectors, *, diversity: float, k: int) -> list[int]:
    """Selects k rows by maximal marginal relevance (Carbonell and Goldstein 1998).

    Args:
        relevance: of each row, larger is better.
        vectors: [N, D], unit rows.
        diversity: 0 = by relevance alone, 1 = as different as possible.

    Returns:
        Indices in the order of their selection.
    """
    scores = np.asarray(relevance, dtype=np.float64)
    likeness = np.full(len(scores), -1.0)
    left = np.ones(len(scores), dtype=bool)
    chosen: list[int] = []
    while left.any() and len(chosen) < k:
        penalty = likeness if chosen else 0.0
        marginal = np.where(left, (1 - diversity) * scores - diversity * penalty, -np.inf)
        best = int(np.argmax(marginal))
        chosen.append(best)
        left[best] = False
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return chosen


def fold(spaces: Sequence[Vectors], alike: float) -> dict[int, int]:
    """Keeps each row that is like no row kept before it.

    Args:
        spaces: rows of the same images in several spaces, each [N, D], of unit length, best image first.
        alike: cosine from which on two rows are alike; they have to be in every space.

    Returns:
        The indices kept, in order, each with the number of rows that were like it.
    """
    kept: dict[int, int] = {}
    for at in range(len(spaces[0])):
        before = list(kept)
        likeness = np.min([rows[before] @ rows[at] for rows in spaces], axis=0)
        nearest = int(np.argmax(likeness)) if before else -1
        if before and likeness[nearest] >= alike - _ROUNDING:
            kept[before[nearest]] += 1
        else:
            kept[at] = 0
    return kept
