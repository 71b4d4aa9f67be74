"""From what the spaces found for one query to one list of hits: fused, near copies put together, spread out.

It knows scores and vectors; where they come from is the business of `search.py`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xcomp_indexer.calibrate import Calibration, Yardstick
from xcomp_indexer.embed import Vectors
from xcomp_indexer.fusion import diversify, fold, reciprocal_rank
from xcomp_indexer.store import Found, Store


class SpaceScore(NamedTuple):
    """What one space says of a hit."""

    rank: int
    score: float
    standout: float


class Hit(NamedTuple):
    """An image found."""

    found: Found
    score: float
    spaces: Mapping[str, SpaceScore]
    standout: float
    confidence: float
    folded: int = 0  # worse hits that look like it and were left out


class _Scored(NamedTuple):
    """What one space found."""

    found: Found
    said: SpaceScore
    confidence: float


def fused(
    scales: Mapping[str, Calibration],
    of_query: Mapping[str, tuple[Yardstick | None, list[Found]]],
    *,
    weights: Mapping[str, float],
) -> list[Hit]:
    """Puts what the spaces found for one query into one ranking; `weights` are those of the spaces, 1 if unnamed."""
    scored = {space: _scored(scales[space], *found) for space, found in of_query.items()}
    if len(scored) == 1:
        ((space, only),) = scored.items()
        return [Hit(found, said.score, {space: said}, said.standout, sure) for found, said, sure in only]
    by_id: dict[str, dict[str, _Scored]] = {}
    for space, those in scored.items():
        for each in those:
            by_id.setdefault(each.found.id, {})[space] = each
    rankings = {space: [each.found.id for each in those] for space, those in scored.items()}
    return [_hit(by_id[id_], score) for id_, score in reciprocal_rank(rankings, weights=weights)]


def _scored(scale: Calibration, yardstick: Yardstick | None, found: Sequence[Found]) -> list[_Scored]:
    weighed = scale.weigh(yardstick, np.asarray([each.score for each in found], dtype=np.float64))
    plain = (row.tolist() for row in weighed)
    return [
        _Scored(each, SpaceScore(rank, each.score, standout), confidence)
        for rank, (each, standout, confidence) in enumerate(zip(found, *plain, strict=True), start=1)
    ]


def _hit(scored: Mapping[str, _Scored], score: float) -> Hit:
    said = {space: each.said for space, each in scored.items()}
    standout = max(each.standout for each in said.values())
    confidence = max(each.confidence for each in scored.values())
    return Hit(next(iter(scored.values())).found, score, said, standout, confidence)


def collapsed(store: Store, hits: Sequence[Hit], *, spaces: Mapping[str, int], alike: float) -> list[Hit]:
    """Leaves out hits whose vectors are as near to a better one's as `alike`, a cosine, in each of the spaces."""
    if not hits:
        return []
    kept = fold(list(_vectors(store, hits, spaces).values()), alike)
    return [hits[at]._replace(folded=count) for at, count in kept.items()]


def spread(store: Store, hits: Sequence[Hit], *, space: str, width: int, diversity: float, k: int) -> list[Hit]:
    """Chooses k hits that differ from one another in a space of that width."""
    if len(hits) < 2:
        return list(hits)
    # The worst score counts 0 and the best 1, so that relevance and likeness weigh the same in every space.
    scores = np.asarray([hit.score for hit in hits])
    relevance = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-9)
    vectors = _vectors(store, hits, {space: width})[space]
    return [hits[at] for at in diversify(relevance.tolist(), vectors, diversity=diversity, k=k)]


def _vectors(store: Store, hits: Sequence[Hit], spaces: Mapping[str, int]) -> dict[str, Vectors]:
    """Returns the hits' vectors by space, each `[N, D]`; zeros, which are like nothing, where a hit has none."""
    points = {point.id: point.vectors for point in store.get([hit.found.id for hit in hits], vectors=True)}
    return {
        space: np.stack([points.get(hit.found.id, {}).get(space, np.zeros(width, np.float32)) for hit in hits])
        for space, width in spaces.items()
    }
