"""From what the spaces found for one query to one list of hits: fused, near copies put together, spread out.

It knows scores and vectors; where they come from is the business of `engine.py`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.search.calibration import Calibration, QueryStats
from xcomp_indexer.store import ScoredPoint, Store

RRF_K = 60  # Cormack, Clarke and Buettcher 2009; engines default to other values, so it is always ours
_ROUNDING = 1e-5  # of the cosine of a vector with itself


class SpaceRank(NamedTuple):
    """What one space says of a hit."""

    rank: int
    score: float
    standout: float


class RankedHit(NamedTuple):
    """An image found."""

    found: ScoredPoint
    score: float
    spaces: Mapping[str, SpaceRank]
    standout: float
    confidence: float
    folded: int = 0  # worse hits that look like it and were left out


class _Scored(NamedTuple):
    """What one space found."""

    found: ScoredPoint
    said: SpaceRank
    confidence: float


def fuse(
    scales: Mapping[str, Calibration],
    of_query: Mapping[str, tuple[QueryStats | None, list[ScoredPoint]]],
    *,
    weights: Mapping[str, float],
) -> list[RankedHit]:
    """Puts what the spaces found for one query into one ranking; `weights` are those of the spaces, 1 if unnamed."""
    scored = {space: _scored(scales[space], *found) for space, found in of_query.items()}
    if len(scored) == 1:
        ((space, only),) = scored.items()
        return [RankedHit(found, said.score, {space: said}, said.standout, sure) for found, said, sure in only]
    by_id: dict[str, dict[str, _Scored]] = {}
    for space, those in scored.items():
        for each in those:
            by_id.setdefault(each.found.id, {})[space] = each
    rankings = {space: [each.found.id for each in those] for space, those in scored.items()}
    return [_hit(by_id[id_], score) for id_, score in reciprocal_rank(rankings, weights=weights)]


def _scored(scale: Calibration, yardstick: QueryStats | None, found: Sequence[ScoredPoint]) -> list[_Scored]:
    weighed = scale.weigh(yardstick, np.asarray([each.score for each in found], dtype=np.float64))
    plain = (row.tolist() for row in weighed)
    return [
        _Scored(each, SpaceRank(rank, each.score, standout), confidence)
        for rank, (each, standout, confidence) in enumerate(zip(found, *plain, strict=True), start=1)
    ]


def _hit(scored: Mapping[str, _Scored], score: float) -> RankedHit:
    said = {space: each.said for space, each in scored.items()}
    standout = max(each.standout for each in said.values())
    confidence = max(each.confidence for each in scored.values())
    return RankedHit(next(iter(scored.values())).found, score, said, standout, confidence)


def collapse_near_duplicates(
    store: Store, hits: Sequence[RankedHit], *, spaces: Mapping[str, int], alike: float
) -> list[RankedHit]:
    """Leaves out hits whose vectors are as near to a better one's as `alike`, a cosine, in each of the spaces."""
    if not hits:
        return []
    kept = fold(list(_vectors(store, hits, spaces).values()), alike)
    return [hits[at]._replace(folded=count) for at, count in kept.items()]


def diversify_hits(
    store: Store, hits: Sequence[RankedHit], *, space: str, width: int, diversity: float, k: int
) -> list[RankedHit]:
    """Chooses k hits that differ from one another in a space of that width."""
    if len(hits) < 2:
        return list(hits)
    # The worst score counts 0 and the best 1, so that relevance and likeness weigh the same in every space.
    scores = np.asarray([hit.score for hit in hits])
    relevance = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-9)
    vectors = _vectors(store, hits, {space: width})[space]
    return [hits[at] for at in diversify(relevance.tolist(), vectors, diversity=diversity, k=k)]


def _vectors(store: Store, hits: Sequence[RankedHit], spaces: Mapping[str, int]) -> dict[str, Vectors]:
    """Returns the hits' vectors by space, each `[N, D]`; zeros, which are like nothing, where a hit has none."""
    points = {point.id: point.vectors for point in store.get([hit.found.id for hit in hits], vectors=True)}
    return {
        space: np.stack([points.get(hit.found.id, {}).get(space, np.zeros(width, np.float32)) for hit in hits])
        for space, width in spaces.items()
    }


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
