"""Retrieves the nearest images for the vectors of queries and fuses them into one ranking per query.

All queries of a call go to the store together. Images that may not be offered are left out here. `engine.py` chooses
the answer from a ranking.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xcomp_indexer.repository.visibility import is_offered, now, offered_filter
from xcomp_indexer.search.calibration import Calibration, QueryStats
from xcomp_indexer.search.query import POOL, SearchRequest, Vector
from xcomp_indexer.search.ranking import RankedHit, fuse
from xcomp_indexer.store import And, ScoredPoint, Store, VectorQuery
from xcomp_protos.telemetry import api

SPARE = 4  # hits beyond the limit, which replace those that may not be offered


@dataclass(frozen=True)
class PreparedQuery:
    """One query of a request: its vector and the calibration of each space that answers."""

    request: SearchRequest
    vectors: Mapping[str, Vector]
    calibrations: Mapping[str, Calibration]  # by space; queries that are ranked together share them
    limit: int  # hits that are ranked

    def vector_queries(self) -> list[VectorQuery]:
        """Return the searches in the store, one for each space."""
        limit = max(self.limit, POOL) if len(self.vectors) > 1 else self.limit
        where, exact = self.request.condition, self.request.exact
        return [VectorQuery(space, row, limit=limit, where=where, exact=exact) for space, row in self.vectors.items()]


def rank(store: Store, queries: Sequence[PreparedQuery]) -> list[list[RankedHit]]:
    """Return the ranking of each query, with one call of the store for all of them."""
    with api.stage("store"):
        found = iter(_search(store, queries))
    with api.stage("fuse"):
        stats = {space: iter(each) for space, each in _query_stats(queries).items()}
        return [
            fuse(
                query.calibrations,
                {space: (next(stats[space]), next(found)) for space in query.vectors},
                weights=query.request.space_weights,
            )
            for query in queries
        ]


def _query_stats(queries: Sequence[PreparedQuery]) -> dict[str, list[QueryStats | None]]:
    """Compute the statistics of all queries of a space at once; those of a space are in the order of its queries."""
    vectors: dict[str, list[Vector]] = {}
    for query in queries:
        for space, vector in query.vectors.items():
            vectors.setdefault(space, []).append(vector)
    calibrations = {space: each for query in queries for space, each in query.calibrations.items()}
    return {space: calibrations[space].query_stats(np.stack(rows)) for space, rows in vectors.items()}


def _search(store: Store, queries: Sequence[PreparedQuery]) -> list[list[ScoredPoint]]:
    """Search for images that may be offered.

    Few images may not be offered. They are dropped from the hits, which costs nothing. Only where too few hits are
    left, the store filters them out, which makes it look at every image.
    """
    moment = now()
    sought = [(each, query.request.allow_restricted) for query in queries for each in query.vector_queries()]
    found = store.near([query if restricted else _with_spare(query) for query, restricted in sought])
    kept = [
        hits if restricted else _drop_hidden(store, hits, limit=query.limit, moment=moment)
        for (query, restricted), hits in zip(sought, found, strict=True)
    ]
    short = [at for at, (query, _) in enumerate(sought) if len(kept[at]) < min(query.limit, len(found[at]))]
    if short:
        filtered = [_with_visibility(sought[at][0], moment) for at in short]
        for at, hits in zip(short, store.near(filtered), strict=True):
            kept[at] = hits
    return [hits[: query.limit] for (query, _), hits in zip(sought, kept, strict=True)]


def _with_spare(query: VectorQuery) -> VectorQuery:
    return replace(query, limit=query.limit + SPARE, payload_limit=query.limit)


def _drop_hidden(store: Store, hits: Sequence[ScoredPoint], *, limit: int, moment: str) -> list[ScoredPoint]:
    """Drop hits that may not be offered; read the payloads of the spare hits only where they are needed."""
    kept = [hit for hit in hits if hit.payload and is_offered(hit.payload, moment)]
    spare = {hit.id: hit.score for hit in hits if not hit.payload}
    if len(kept) < limit and spare:
        points = [point._replace(score=spare[point.id]) for point in store.get(list(spare))]
        kept += [point for point in points if is_offered(point.payload, moment)]
    return kept


def _with_visibility(query: VectorQuery, moment: str) -> VectorQuery:
    return replace(query, where=And((query.where, offered_filter(moment))) if query.where else offered_filter(moment))
