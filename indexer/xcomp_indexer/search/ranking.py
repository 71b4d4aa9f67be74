"""Turns the hits of the spaces for one query into one ranking: fusion, near-duplicates, diversity.

Depends on scores and vectors alone; `retrieve.py` and `engine.py` get them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.search.calibration import Calibration, QueryStats
from xcomp_indexer.store import ScoredPoint, Store

RRF_K = 60  # Cormack, Clarke and Buettcher 2009; set here since the engines have other defaults
_ROUNDING = 1e-5  # of the cosine of a vector with itself


class SpaceRank(NamedTuple):
    """Rank and score of a hit in one space."""

    rank: int
    score: float
    standout: float  # z-score over the repository


class RankedHit(NamedTuple):
    """An image that was found."""

    found: ScoredPoint
    score: float
    spaces: Mapping[str, SpaceRank]
    standout: float
    confidence: float
    folded: int = 0  # worse hits that were left out since they look like this one


def fuse(
    calibrations: Mapping[str, Calibration],
    found: Mapping[str, tuple[QueryStats | None, list[ScoredPoint]]],
    *,
    weights: Mapping[str, float],
) -> list[RankedHit]:
    """Fuse the hits of the spaces for one query into one ranking.

    Args:
        calibrations: by space.
        found: by space, the statistics of the query and its hits, best first.
        weights: of the spaces; 1 if unnamed.
    """
    by_space = {space: _rank_in_space(space, calibrations[space], *each) for space, each in found.items()}
    if len(by_space) == 1:
        return next(iter(by_space.values()))
    by_id: dict[str, list[RankedHit]] = {}
    for hits in by_space.values():
        for hit in hits:
            by_id.setdefault(hit.found.id, []).append(hit)
    rankings = {space: [hit.found.id for hit in hits] for space, hits in by_space.items()}
    return [_merge(by_id[id_], score) for id_, score in reciprocal_rank(rankings, weights=weights)]


def _rank_in_space(
    space: str, calibration: Calibration, stats: QueryStats | None, points: Sequence[ScoredPoint]
) -> list[RankedHit]:
    weighed = calibration.weigh(stats, np.asarray([point.score for point in points], dtype=np.float64))
    columns = (row.tolist() for row in weighed)
    return [
        RankedHit(point, point.score, {space: SpaceRank(rank, point.score, standout)}, standout, confidence)
        for rank, (point, standout, confidence) in enumerate(zip(points, *columns, strict=True), start=1)
    ]


def _merge(hits: Sequence[RankedHit], score: float) -> RankedHit:
    """Merge what several spaces found of one image."""
    spaces = {space: each for hit in hits for space, each in hit.spaces.items()}
    standout, confidence = max(hit.standout for hit in hits), max(hit.confidence for hit in hits)
    return RankedHit(hits[0].found, score, spaces, standout, confidence)


def collapse_near_duplicates(
    store: Store, hits: Sequence[RankedHit], *, spaces: Mapping[str, int], threshold: float
) -> list[RankedHit]:
    """Leave out hits whose cosine to a better hit reaches the threshold in every space; `spaces` has dimensions."""
    if not hits:
        return []
    kept = fold(list(_read_vectors(store, hits, spaces).values()), threshold)
    return [hits[at]._replace(folded=count) for at, count in kept.items()]


def diversify_hits(
    store: Store, hits: Sequence[RankedHit], *, space: str, dimension: int, diversity: float, k: int
) -> list[RankedHit]:
    """Select k hits that differ from each other in a space."""
    if len(hits) < 2:
        return list(hits)
    # The worst score counts 0 and the best 1, so that relevance and similarity weigh the same in every space.
    scores = np.asarray([hit.score for hit in hits])
    relevance = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-9)
    vectors = _read_vectors(store, hits, {space: dimension})[space]
    return [hits[at] for at in diversify(relevance.tolist(), vectors, diversity=diversity, k=k)]


def _read_vectors(store: Store, hits: Sequence[RankedHit], spaces: Mapping[str, int]) -> dict[str, Vectors]:
    """Return the vectors of the hits by space, each `[N, D]`; zeros, similar to nothing, where a hit has no vector."""
    points = {point.id: point.vectors for point in store.get([hit.found.id for hit in hits], vectors=True)}
    return {
        space: np.stack([points.get(hit.found.id, {}).get(space, np.zeros(dimension, np.float32)) for hit in hits])
        for space, dimension in spaces.items()
    }


def reciprocal_rank(
    rankings: Mapping[str, Sequence[str]], *, weights: Mapping[str, float] | None = None
) -> list[tuple[str, float]]:
    """Fuse rankings of ids: score(id) = sum over rankings of weight / (60 + rank), ranks from 1.

    Returns ids with their score, best first, equal scores by id.
    """
    scores: dict[str, float] = {}
    for name, ranking in rankings.items():
        weight = (weights or {}).get(name, 1.0)
        for rank, id_ in enumerate(ranking, start=1):
            scores[id_] = scores.get(id_, 0.0) + weight / (RRF_K + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def diversify(relevance: Sequence[float], vectors: Vectors, *, diversity: float, k: int) -> list[int]:
    """Select k rows by maximal marginal relevance (Carbonell and Goldstein 1998).

    Args:
        relevance: of each row, larger is better.
        vectors: [N, D], unit rows.
        diversity: 0 = by relevance alone, 1 = as different as possible.

    Returns:
        Indices in the order of their selection.
    """
    scores = np.asarray(relevance, dtype=np.float64)
    similarity = np.full(len(scores), -1.0)
    left = np.ones(len(scores), dtype=bool)
    chosen: list[int] = []
    while left.any() and len(chosen) < k:
        penalty = similarity if chosen else 0.0
        marginal = np.where(left, (1 - diversity) * scores - diversity * penalty, -np.inf)
        best = int(np.argmax(marginal))
        chosen.append(best)
        left[best] = False
        similarity = np.maximum(similarity, vectors @ vectors[best])
    return chosen


def fold(spaces: Sequence[Vectors], threshold: float) -> dict[int, int]:
    """Keep each row that is not similar to a row kept before it.

    Args:
        spaces: rows of the same images in several spaces, each [N, D], of unit length, best image first.
        threshold: cosine from which on two rows are similar; it must be reached in every space.

    Returns:
        The indices kept, in order, each with the number of rows that were similar to it.
    """
    kept: dict[int, int] = {}
    for at in range(len(spaces[0])):
        before = list(kept)
        similarity = np.min([rows[before] @ rows[at] for rows in spaces], axis=0)
        nearest = int(np.argmax(similarity)) if before else -1
        if before and similarity[nearest] >= threshold - _ROUNDING:
            kept[before[nearest]] += 1
        else:
            kept[at] = 0
    return kept
