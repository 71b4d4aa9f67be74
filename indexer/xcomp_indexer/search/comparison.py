"""Compares the hits of an answer by their stored vectors: with a query in further spaces, and with each other."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.repository.visibility import is_offered, now
from xcomp_indexer.search.calibration import Calibration
from xcomp_indexer.search.query import Vector
from xcomp_indexer.search.ranking import RankedHit, SpaceRank
from xcomp_indexer.store import ScoredPoint, Store
from xcomp_protos.errors import Exhausted

MAX_COMPARED = 2048  # images that are compared pairwise; the table takes 16 MB per space
MAX_PAIRS = 30_000  # each takes up to 100 bytes of a message of 4 MiB


class SimilarPair(NamedTuple):
    """Two images and the cosine of their vectors."""

    image_id: str
    other_id: str
    cosine: float


def add_space_scores(
    hits: Sequence[RankedHit], points: Mapping[str, ScoredPoint], *, space: str, query: Vector, calibration: Calibration
) -> list[RankedHit]:
    """Adds the scores of a space to the hits that it did not find; `points` have the vectors of the hits by id."""
    rows = {hit.found.id: points[hit.found.id].vectors[space] for hit in hits
            if hit.found.id in points and space in points[hit.found.id].vectors}  # fmt: skip
    if not rows:
        return list(hits)
    scores = np.round(np.stack(list(rows.values())).astype(np.float64) @ query, 6)
    standouts, _ = calibration.weigh(calibration.query_stats(query[None])[0], scores)
    ranks = np.empty(len(scores), dtype=int)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    columns = zip(ranks.tolist(), scores.tolist(), standouts.tolist(), strict=True)
    found = {image_id: SpaceRank(*row) for image_id, row in zip(rows, columns, strict=True)}
    return [
        hit._replace(spaces={**hit.spaces, space: found[hit.found.id]})
        if hit.found.id in found and space not in hit.spaces
        else hit
        for hit in hits
    ]


def find_similar_pairs(
    store: Store, ids: Collection[str], *, spaces: Sequence[str], minimum: float, allow_restricted: bool
) -> list[SimilarPair]:
    """Compares images with each other, by the lowest cosine over the spaces; returns the most similar pairs first.

    Unknown ids and images that may not be offered are left out.

    Raises:
        Exhausted: there are too many images, or too many of them are similar.
    """
    if len(ids) > MAX_COMPARED:
        raise Exhausted(f"min_similarity: compares at most {MAX_COMPARED} images, not {len(ids)}: ask for fewer hits")
    moment = now()
    points = [
        point for point in store.get(sorted(ids), vectors=True) if allow_restricted or is_offered(point.payload, moment)
    ]
    cosines = _lowest_cosines(points, spaces)
    rows, columns = np.nonzero(np.triu(cosines >= minimum, k=1))
    if len(rows) > MAX_PAIRS:
        raise Exhausted(f"min_similarity: {len(rows)} pairs are at least so similar, more than {MAX_PAIRS}: raise it")
    pairs = [
        SimilarPair(points[row].id, points[column].id, round(float(cosines[row, column]), 6))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.cosine, pair.image_id, pair.other_id))


def _lowest_cosines(points: Sequence[ScoredPoint], spaces: Sequence[str]) -> NDArray[np.float64]:
    """Returns the cosine of each pair `[N, N]`, the lowest over the spaces; -inf where no space has both."""
    lowest = np.full((len(points), len(points)), np.inf)
    for space in spaces:
        at = [index for index, point in enumerate(points) if space in point.vectors]
        if at:
            rows = np.stack([points[index].vectors[space] for index in at]).astype(np.float64)
            block = np.ix_(at, at)
            lowest[block] = np.minimum(lowest[block], rows @ rows.T)
    return np.where(np.isinf(lowest), -np.inf, lowest)
