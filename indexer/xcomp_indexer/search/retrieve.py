"""From the vectors of queries to the ranking of each: one call of the store for all of them.

What may not be offered is left out here; how a ranking becomes an answer is the business of `engine.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xcomp_indexer.repository.visibility import is_offered, now, offered
from xcomp_indexer.search.calibration import Calibration, QueryStats
from xcomp_indexer.search.query import (
    POOL,
    SearchRequest,
    Vector,
)
from xcomp_indexer.search.ranking import RankedHit, fuse
from xcomp_indexer.store import And, ScoredPoint, Store, VectorQuery
from xcomp_protos.telemetry import api

SPARE = 4  # hits asked for beyond the limit, in the place of those that may not be offered


@dataclass(frozen=True)
class PreparedQuery:
    """A query on its way: whose it is, its vector in each of the spaces that answer, and their scales."""

    question: SearchRequest
    vectors: Mapping[str, Vector]
    scales: Mapping[str, Calibration]  # by space; queries that go together share them
    limit: int  # hits that are ranked


@dataclass(frozen=True)
class _Sought:
    """A search in one space, and whether what may not be offered is found as well."""

    near: VectorQuery
    restricted: bool


def ranked(store: Store, asked: Sequence[PreparedQuery]) -> list[list[RankedHit]]:
    """Returns the ranking of each query; they go to the store together."""
    with api.stage("store"):
        found = iter(_found(store, [each for one in asked for each in _sought(one)]))
    with api.stage("fuse"):
        yardsticks = {space: iter(each) for space, each in _yardsticks(asked).items()}
        return [
            fuse(
                one.scales,
                {space: (next(yardsticks[space]), next(found)) for space in one.vectors},
                weights=one.question.space_weights,
            )
            for one in asked
        ]


def _yardsticks(asked: Sequence[PreparedQuery]) -> dict[str, list[QueryStats | None]]:
    """Measures each query in its spaces, those of a space together; a space's are in the order of its queries."""
    vectors: dict[str, list[Vector]] = {}
    for one in asked:
        for space, vector in one.vectors.items():
            vectors.setdefault(space, []).append(vector)
    scales = {space: scale for one in asked for space, scale in one.scales.items()}
    return {space: scales[space].yardsticks(np.stack(rows)) for space, rows in vectors.items()}


def _sought(one: PreparedQuery) -> list[_Sought]:
    limit = max(one.limit, POOL) if len(one.vectors) > 1 else one.limit
    where, exact = one.question.condition, one.question.exact
    return [
        _Sought(VectorQuery(space, vector, limit=limit, where=where, exact=exact), one.question.allow_restricted)
        for space, vector in one.vectors.items()
    ]


def _found(store: Store, sought: Sequence[_Sought]) -> list[list[ScoredPoint]]:
    """Searches for what may be shown.

    Images that may not be offered are few. So they are dropped from what was found, which costs nothing, and filtered
    by the store, which looks at every image then, only where too little is left.
    """
    moment = now()
    found = store.near([each.near if each.restricted else _spared(each.near) for each in sought])
    kept = [
        hits if each.restricted else _kept(store, hits, limit=each.near.limit, moment=moment)
        for each, hits in zip(sought, found, strict=True)
    ]
    short = [at for at, each in enumerate(sought) if len(kept[at]) < each.near.limit and len(kept[at]) < len(found[at])]
    if short:
        strict = [_strict(sought[at].near, moment) for at in short]
        for at, hits in zip(short, store.near(strict), strict=True):
            kept[at] = hits
    return [hits[: each.near.limit] for each, hits in zip(sought, kept, strict=True)]


def _spared(near: VectorQuery) -> VectorQuery:
    return replace(near, limit=near.limit + SPARE, told=near.limit)


def _kept(store: Store, hits: Sequence[ScoredPoint], *, limit: int, moment: str) -> list[ScoredPoint]:
    """Drops what may not be offered; the spare hits are read only where one of them has to stand in."""
    kept = [hit for hit in hits if hit.payload and is_offered(hit.payload, moment)]
    spare = {hit.id: hit.score for hit in hits if not hit.payload}
    if len(kept) < limit and spare:
        read = [point._replace(score=spare[point.id]) for point in store.get(list(spare))]
        kept += [hit for hit in read if is_offered(hit.payload, moment)]
    return kept


def _strict(near: VectorQuery, moment: str) -> VectorQuery:
    return replace(near, where=And((near.where, offered(moment))) if near.where else offered(moment))
