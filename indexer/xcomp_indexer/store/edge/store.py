"""The embedded store: one repository in a Qdrant Edge shard.

It has the same engine as the server, without a server. The engine stops every Python thread during a call, so calls are
kept short. `rebuild.py` seals written points and links large shards for fast search; `shard.py` keeps the shard.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

import numpy as np
import qdrant_edge as qe
from numpy.typing import NDArray

from xcomp_indexer.store import (
    Filter,
    Ids,
    InSpace,
    Meta,
    Payload,
    Point,
    ScoredPoint,
    Snapshot,
    Step,
    VectorQuery,
    paging,
    validate,
)
from xcomp_indexer.store.edge import config, files
from xcomp_indexer.store.edge import snapshot as edge_snapshot
from xcomp_indexer.store.edge.filters import translate
from xcomp_indexer.store.edge.indexes import Fields
from xcomp_indexer.store.edge.rebuild import rebuild
from xcomp_indexer.store.edge.shard import ShardHandle, check_room
from xcomp_protos.errors import Conflict

_UPDATE = qe.UpdateOperation
_QUERIES_PER_CALL = 8  # each may scan every vector, and no other thread runs meanwhile
_PAGE = 500  # points of a scan per call
_EXACTLY = qe.SearchParams(exact=True)
_SEALED_PER_BACKLOG = 8  # points read again to seal one


class EdgeStore:
    """One repository in an embedded shard."""

    def __init__(self, handle: ShardHandle, fields: Fields, *, seal_from: int, graph_from: int) -> None:
        """Take over an open repository.

        Args:
            handle: its shard.
            fields: its payload indexes.
            seal_from: number of written points from which on they are sealed.
            graph_from: number of vectors from which on a graph is built.
        """
        self._handle, self._fields = handle, fields
        self._seal_from, self._graph_from = seal_from, graph_from
        for space, dimension in handle.manifest.spaces.items():  # no-ops, unless a crash interrupted `add_space`
            with handle.use_engine() as engine:  # without a check of free space: a full disk can be searched
                engine.update(_UPDATE.create_dense_vector(space, dimension, qe.Distance.Cosine))
        fields.index()
        self._params = self._search_params()

    def spaces(self) -> Mapping[str, int]:
        """Names and dimensions of the spaces it holds."""
        return dict(self._handle.manifest.spaces)

    def add_space(self, name: str, dimension: int) -> None:
        """Adds a space to a live store."""
        validate.spaces({name: dimension})
        with self._handle.writers:
            manifest = self._handle.manifest
            known = manifest.spaces.get(name)
            if known not in (None, dimension):
                raise Conflict(f"space {name!r} exists with dimension {known}, not {dimension}: use another name")
            if known is None:  # the manifest first: opening completes it after a crash
                check_room(self._handle.path)
                self._handle.save(replace(manifest, spaces={**manifest.spaces, name: dimension}))
                self._handle.reshape(_UPDATE.create_dense_vector(name, dimension, qe.Distance.Cosine))

    def drop_space(self, name: str) -> None:
        """Removes a space of a live store."""
        with self._handle.writers:
            spaces = self._handle.manifest.spaces
            if name in spaces:  # the engine first: after a crash the manifest still names it, empty
                self._handle.reshape(_UPDATE.delete_vector_name(name))
                self.flush()
                left = {space: width for space, width in spaces.items() if space != name}
                self._handle.save(replace(self._handle.manifest, spaces=left))

    def upsert(self, points: Sequence[Point]) -> None:
        """Writes whole points; none of them if one is invalid."""
        rows = validate.rows(points, self._handle.manifest.spaces)
        with self._handle.writers:
            for part in validate.batches(rows):
                whole = [qe.Point(row.id, {**row.vectors}, row.payload) for row in part]
                self._handle.write(_UPDATE.upsert_points(whole), [row.id for row in part])
            self._fields.index()

    def set_payload(self, ids: Sequence[str], patch: Payload) -> None:
        """Overwrites single payload keys of existing points."""
        plain, removed = validate.patch(patch)
        change = plain | dict.fromkeys(removed)  # the engine takes a null as "remove"
        with self._handle.writers:
            for part in validate.batches(validate.known_form(ids)):  # by filter: by id, an unknown one fails half-way
                those = translate(Ids(frozenset(part)))
                self._handle.write(_UPDATE.set_payload_by_filter(those, change), part)

    def set_vectors(self, space: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Writes one space's vectors of existing points."""
        plain = validate.vectors(space, vectors, self._handle.manifest.spaces)
        with self._handle.writers:  # an unknown id fails half-way, so they are sorted out first
            for part in validate.batches([each.id for each in self.get(list(plain))]):
                those = [qe.PointVectors(each, {space: plain[each]}) for each in part]
                self._handle.write(_UPDATE.update_vectors(those), part)

    def delete(self, ids: Sequence[str]) -> None:
        """Removes points."""
        with self._handle.writers:
            for part in validate.batches(validate.known_form(ids)):
                self._handle.write(_UPDATE.delete_points([*part]), part)

    def near(self, queries: Sequence[VectorQuery]) -> list[list[ScoredPoint]]:
        """Answers each query."""
        vectors = [validate.query(near, self._handle.manifest.spaces) for near in queries]
        found: list[list[qe.ScoredPoint]] = []
        for start in range(0, len(queries), _QUERIES_PER_CALL):
            some = slice(start, start + _QUERIES_PER_CALL)
            requests = [self._request(near, vector) for near, vector in zip(queries[some], vectors[some], strict=True)]
            with self._handle.use_engine() as engine:
                found += engine.query_batch(qe.QueryBatchRequest(requests))
        pages = [
            paging.page(near, hits, fetch=partial(self._query_first, near, vector), read=_to_hit)
            for near, vector, hits in zip(queries, vectors, found, strict=True)
        ]
        return self._fetch_payloads(
            pages, [near.limit if near.payload_limit is None else near.payload_limit for near in queries]
        )

    def _fetch_payloads(self, pages: Sequence[Sequence[ScoredPoint]], counts: Sequence[int]) -> list[list[ScoredPoint]]:
        """Read the payloads of the first hits of each page, as many as `counts` has; drop points that were removed.

        Payloads in a search take the engine several times as long, and hits beyond the page would have them as well.
        """
        ids = {hit.id for page, count in zip(pages, counts, strict=True) for hit in page[:count]}
        known: dict[str, Payload] = {}
        for part in validate.batches(list(ids)):
            with self._handle.use_engine() as engine:
                known |= {str(record.id): record.payload or {} for record in engine.retrieve([*part], True, False)}
        return [
            [ScoredPoint(hit.id, hit.score, known[hit.id]) for hit in page[:count] if hit.id in known] + [*page[count:]]
            for page, count in zip(pages, counts, strict=True)
        ]

    def _query_first(self, near: VectorQuery, vector: list[float], take: int) -> list[qe.ScoredPoint]:
        with self._handle.use_engine() as engine:
            return engine.query(self._request(near, vector, take=take))

    def _request(self, near: VectorQuery, vector: list[float], *, take: int | None = None) -> qe.QueryRequest:
        return qe.QueryRequest(
            limit=take or paging.reach(near),
            query=qe.Query.Nearest(vector, using=near.space),
            filter=_translate_optional(near.where),
            score_threshold=paging.threshold(near),
            params=_EXACTLY if near.exact else self._params,
            with_payload=False,
        )

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[ScoredPoint]:
        """Returns the points that exist, in the order of `ids`."""
        found: dict[str, ScoredPoint] = {}
        for part in validate.batches(validate.known_form(ids)):
            with self._handle.use_engine() as engine:
                records = engine.retrieve([*part], True, vectors)
            found |= {str(record.id): _to_point(record) for record in records}
        return [found[point_id] for point_id in ids if point_id in found]

    def scan(
        self,
        *,
        fields: Sequence[str] | None = None,
        where: Filter | None = None,
        vectors: bool = False,
        after: str | None = None,
    ) -> Iterator[ScoredPoint]:
        """Goes through all points in the order of their ids."""
        condition = _translate_optional(where)
        start: int | UUID | str | None = after
        while True:
            page = qe.ScrollRequest(
                offset=start,
                limit=_PAGE,
                filter=condition,
                with_payload=True if fields is None else list(fields),
                with_vector=vectors,
            )
            with self._handle.use_engine() as engine:
                records, start = engine.scroll(page)
            found = [_to_point(record) for record in records]
            yield from found[1:] if after and found and found[0].id == after else found
            after = None
            if start is None:
                return

    def count(self, where: Filter | None = None) -> int:
        """Counts points exactly."""
        request = qe.CountRequest(exact=True, filter=_translate_optional(where))
        with self._handle.use_engine() as engine:
            return engine.count(request)

    def meta(self) -> Meta:
        """What the repository layer keeps beside the vectors."""
        return dict(self._handle.manifest.meta)

    def set_meta(self, patch: Meta) -> None:
        """Overwrites single keys of `meta`."""
        with self._handle.writers:
            manifest = self._handle.manifest
            self._handle.save(replace(manifest, meta=validate.payload({**manifest.meta, **patch})))

    def size_bytes(self) -> int:
        """Space taken on disk."""
        return files.size_bytes(self._handle.path)

    def backlog(self) -> float:
        """Compare the number of unsealed vectors with the threshold, which grows with the number of sealed ones.

        So sealing reads every point a bounded number of times, however many there are.
        """
        spaces = self._handle.manifest.spaces
        enough = self._seal_from * len(spaces)
        with self._handle.use_engine() as engine:
            known = engine.info()
        sealed = known.indexed_vectors_count
        if known.points_count * len(spaces) - sealed < enough:  # mostly avoids counting
            return 0.0
        return (self._vectors() - sealed) / max(enough, sealed / _SEALED_PER_BACKLOG)

    def seal(self) -> Generator[Step, None, None]:
        """Rebuild the shard in its current layout while it serves."""
        yield from self._rebuild("graph" if self._handle.manifest.graph else "sealed")

    def wants_optimizing(self) -> bool:
        """Return whether half as many vectors as a graph needs are searched without one."""
        enough = self._graph_from // 2
        with self._handle.use_engine() as engine:
            known = engine.info()
        linked = known.indexed_vectors_count if self._handle.manifest.graph else 0
        if known.points_count * len(self._handle.manifest.spaces) - linked < enough:  # mostly avoids counting
            return False
        vectors = self._vectors()
        return vectors >= self._graph_from and vectors - linked >= enough

    def optimize(self) -> Generator[Step, None, None]:
        """Rebuilds the shard while it serves: in one piece, or with a graph if it is large."""
        yield from self._rebuild("graph" if self.count() >= self._graph_from else "merged")

    def _rebuild(self, layout: config.Layout) -> Generator[Step, None, None]:
        yield from rebuild(self._handle, layout)
        self._params = self._search_params()

    def _vectors(self) -> int:
        return sum(self.count(InSpace(space)) for space in self._handle.manifest.spaces)

    def snapshot(self) -> Snapshot:
        """Copies the repository into a folder that can take its place."""
        return edge_snapshot.take_snapshot(self._handle)

    def snapshots(self) -> list[Snapshot]:
        """Names the snapshots of this repository."""
        return edge_snapshot.list_snapshots(self._handle.path)

    def flush(self) -> None:
        """Makes what was written survive a power cut."""
        with self._handle.use_engine() as engine:
            engine.flush()

    def close(self) -> None:
        """Flush and release the shard and its lock; a second call does nothing."""
        self._handle.close()

    def _search_params(self) -> qe.SearchParams:
        with self._handle.use_engine() as engine:
            return config.search_params_for(engine.info().points_count)


def _to_hit(point: qe.ScoredPoint, score: float) -> ScoredPoint:
    return ScoredPoint(str(point.id), score, {})


def _to_point(record: qe.Record) -> ScoredPoint:
    vectors = record.vector if isinstance(record.vector, dict) else {}
    rows = {space: np.asarray(vector, np.float32) for space, vector in vectors.items()}
    return ScoredPoint(str(record.id), 0.0, record.payload or {}, rows)


def _translate_optional(where: Filter | None) -> qe.Filter | None:
    return None if where is None else translate(validate.where(where))
