"""The embedded store: one repository in a Qdrant Edge shard.

Its idea: the same engine as the server, without a server. Its price: the engine stops every Python thread during a
call, so calls are kept short; a shard belongs to one process, and a fork must not inherit it. Nothing here builds an
index over vectors, so search is exact.

The engine raises bare `Exception`; `translated` in this file turns it into errors of ours.
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

import numpy as np
import qdrant_edge as qe
from numpy.typing import NDArray

from xcomp_indexer.store import Filter, Found, Ids, IndexKind, Meta, Near, Payload, Point, check, folder, order
from xcomp_indexer.store.edge_filter import translate
from xcomp_protos.transport.errors import Conflict, Unavailable, XcompError

VERSION = version("qdrant-edge-py")
_UPDATE = qe.UpdateOperation
_QUERIES_PER_CALL = 8  # each may scan every vector, and no other thread runs meanwhile
_PAGE = 500  # points of a scan per call
_EXACTLY = qe.SearchParams(exact=True)
_Index = qe.KeywordIndexParams | qe.IntegerIndexParams | qe.FloatIndexParams | qe.DatetimeIndexParams
_INDEX: Mapping[IndexKind, _Index] = {
    "keyword": qe.KeywordIndexParams(),
    "integer": qe.IntegerIndexParams(lookup=True, range=True),
    "float": qe.FloatIndexParams(),
    "datetime": qe.DatetimeIndexParams(),
}


class EdgeStore:
    """One repository in an embedded shard. It owns the lock that it is given."""

    def __init__(self, path: Path, lock: folder.Lock, *, indexes: Mapping[str, IndexKind]) -> None:
        self._path, self._lock = path, lock
        self._pid, self._closed = os.getpid(), False
        self._writing = threading.RLock()
        self._manifest = folder.read(path)
        _check_engine(path, self._manifest.engine)
        with translated(path):
            self._engine = qe.EdgeShard.load(str(path / "shard"))
            for space, dimension in self._manifest.spaces.items():  # no-ops, unless a crash cut `add_space` short
                self._engine.update(_UPDATE.create_dense_vector(space, dimension, qe.Distance.Cosine))
            for key in sorted(indexes.keys() - self._engine.info().payload_schema.keys()):
                self._engine.update(_UPDATE.create_field_index(key, _INDEX[indexes[key]]))

    def spaces(self) -> Mapping[str, int]:
        """Names and dimensions of the spaces it holds."""
        return dict(self._manifest.spaces)

    def add_space(self, name: str, dimension: int) -> None:
        """Adds a space to a live store."""
        check.spaces({name: dimension})
        with self._writing:
            known = self._manifest.spaces.get(name)
            if known not in (None, dimension):
                raise Conflict(f"space {name!r} exists with dimension {known}, not {dimension}: use another name")
            if known is None:  # the manifest first: opening completes it after a crash
                self._save(replace(self._manifest, spaces={**self._manifest.spaces, name: dimension}))
                self._update(_UPDATE.create_dense_vector(name, dimension, qe.Distance.Cosine))

    def drop_space(self, name: str) -> None:
        """Removes a space of a live store."""
        with self._writing:
            if name in self._manifest.spaces:  # the engine first: after a crash the manifest still names it, empty
                self._update(_UPDATE.delete_vector_name(name))
                self.flush()
                left = {space: width for space, width in self._manifest.spaces.items() if space != name}
                self._save(replace(self._manifest, spaces=left))

    def upsert(self, points: Sequence[Point]) -> None:
        """Writes whole points; none of them if one is invalid."""
        rows = check.rows(points, self._manifest.spaces)
        with self._writing:
            for part in check.batches(rows):
                self._update(_UPDATE.upsert_points([qe.Point(row.id, {**row.vectors}, row.payload) for row in part]))

    def set_payload(self, ids: Sequence[str], patch: Payload) -> None:
        """Overwrites single payload keys of existing points."""
        plain, removed = check.patch(patch)
        change = plain | dict.fromkeys(removed)  # the engine takes a null as "remove"
        with self._writing:
            for part in check.batches(check.known_form(ids)):  # by filter: by id, an unknown one fails half-way
                self._update(_UPDATE.set_payload_by_filter(translate(Ids(frozenset(part))), change))

    def set_vectors(self, space: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Writes one space's vectors of existing points."""
        plain = check.vectors(space, vectors, self._manifest.spaces)
        with self._writing:  # an unknown id fails half-way, so they are sorted out first
            for part in check.batches([each.id for each in self.get(list(plain))]):
                self._update(_UPDATE.update_vectors([qe.PointVectors(each, {space: plain[each]}) for each in part]))

    def delete(self, ids: Sequence[str]) -> None:
        """Removes points."""
        with self._writing:
            for part in check.batches(check.known_form(ids)):
                self._update(_UPDATE.delete_points([*part]))

    def near(self, queries: Sequence[Near]) -> list[list[Found]]:
        """Answers each query."""
        vectors = [check.query(near, self._manifest.spaces) for near in queries]
        found: list[list[Found]] = []
        for start in range(0, len(queries), _QUERIES_PER_CALL):
            some = slice(start, start + _QUERIES_PER_CALL)
            requests = [_request(near, vector) for near, vector in zip(queries[some], vectors[some], strict=True)]
            with self._open() as engine:
                found += [_hits(hits) for hits in engine.query_batch(qe.QueryBatchRequest(requests))]
        return [
            order.page(near, hits, partial(self._first, near, vector))
            for near, vector, hits in zip(queries, vectors, found, strict=True)
        ]

    def _first(self, near: Near, vector: list[float], take: int) -> list[Found]:
        with self._open() as engine:
            return _hits(engine.query(_request(near, vector, take=take)))

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[Found]:
        """Returns the points that exist, in the order of `ids`."""
        found: dict[str, Found] = {}
        for part in check.batches(check.known_form(ids)):
            with self._open() as engine:
                records = engine.retrieve([*part], True, vectors)
            found |= {str(record.id): _found(record) for record in records}
        return [found[point_id] for point_id in ids if point_id in found]

    def scan(
        self,
        *,
        fields: Sequence[str] | None = None,
        where: Filter | None = None,
        vectors: bool = False,
        after: str | None = None,
    ) -> Iterator[Found]:
        """Goes through all points in the order of their ids."""
        condition = _optional(where)
        start: int | UUID | str | None = after
        while True:
            page = qe.ScrollRequest(
                offset=start,
                limit=_PAGE,
                filter=condition,
                with_payload=True if fields is None else list(fields),
                with_vector=vectors,
            )
            with self._open() as engine:
                records, start = engine.scroll(page)
            yield from (_found(record) for record in records if str(record.id) != after)
            if start is None:
                return

    def count(self, where: Filter | None = None) -> int:
        """Counts points exactly."""
        request = qe.CountRequest(exact=True, filter=_optional(where))
        with self._open() as engine:
            return engine.count(request)

    def meta(self) -> Meta:
        """What the repository layer keeps beside the vectors."""
        return dict(self._manifest.meta)

    def set_meta(self, patch: Meta) -> None:
        """Overwrites single keys of `meta`."""
        with self._writing:
            self._save(replace(self._manifest, meta=check.payload({**self._manifest.meta, **patch})))

    def size_bytes(self) -> int:
        """Space taken on disk."""
        return folder.size_bytes(self._path)

    def flush(self) -> None:
        """Makes what was written survive a power cut."""
        with self._open() as engine:
            engine.flush()

    def close(self) -> None:
        """Flushes and lets go of the shard and its lock; again is harmless."""
        with self._writing:
            if not self._closed:
                self.flush()
                self._engine.close()
                self._closed = True
                self._lock.release()

    def _update(self, operation: qe.UpdateOperation) -> None:
        with self._open() as engine:
            engine.update(operation)

    def _save(self, manifest: folder.Manifest) -> None:
        with self._open():
            folder.write(self._path, replace(manifest, engine=VERSION))
        self._manifest = manifest

    @contextmanager
    def _open(self) -> Iterator[qe.EdgeShard]:
        if self._closed:
            raise Unavailable(f"the repository in {self._path} is closed: open it again")
        if os.getpid() != self._pid:
            raise Unavailable(f"the repository in {self._path} was opened before a fork: open it in the new process")
        with translated(self._path):
            yield self._engine


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what the engine raises about a repository's folder into errors of ours."""
    try:
        yield
    except XcompError:
        raise
    except BaseException as error:  # the engine has no exception types, and its panics are no `Exception`
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).partition("\n")[0]
        if "WouldBlock" in reason:
            raise Conflict(f"the repository in {path} is held by another process: stop it first") from error
        raise Unavailable(f"the embedded store in {path} failed: {reason}") from error


def _check_engine(path: Path, written_by: str) -> None:
    if _minor(written_by) > _minor(VERSION):
        raise Conflict(f"{path} was written by qdrant-edge-py {written_by}, installed is {VERSION}: upgrade it")


def _minor(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:2]]


def _request(near: Near, vector: list[float], *, take: int | None = None) -> qe.QueryRequest:
    return qe.QueryRequest(
        limit=take or order.reach(near),
        query=qe.Query.Nearest(vector, using=near.space),
        filter=_optional(near.where),
        score_threshold=order.threshold(near),
        params=_EXACTLY if near.exact else None,
        with_payload=True,
    )


def _hits(points: Sequence[qe.ScoredPoint]) -> list[Found]:
    return [Found(str(point.id), order.rounded(point.score), point.payload or {}) for point in points]


def _found(record: qe.Record) -> Found:
    vectors = record.vector if isinstance(record.vector, dict) else {}
    return Found(
        str(record.id),
        0.0,
        record.payload or {},
        {space: np.asarray(vector, np.float32) for space, vector in vectors.items()},
    )


def _optional(where: Filter | None) -> qe.Filter | None:
    return None if where is None else translate(check.where(where))
