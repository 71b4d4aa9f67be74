"""The server store: one repository in a collection of a Qdrant server, over REST, gRPC or inside this process.

The same adapter serves all three, so that tests can compare the others with the one in memory. Several indexers may
share a server: spaces and meta are stored with the collection and only cached here.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from xcomp_indexer.store import (
    Filter,
    Ids,
    IndexKind,
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
from xcomp_indexer.store.qdrant.client import Call
from xcomp_indexer.store.qdrant.filters import translate
from xcomp_protos.errors import Conflict, Unavailable

FORMAT = 3  # as that of edge/manifest.py
FORMAT_KEY = "xcomp_format"  # in the collection's metadata
_META_KEY = "xcomp_meta"  # beside it, in one value: the server merges keys, and REST cannot remove one
_QUERIES_PER_CALL = 32
_PAGE = 500  # points of a scan per call
_EXACTLY = models.SearchParams(exact=True)
_INDEX = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "datetime": models.PayloadSchemaType.DATETIME,
}


class QdrantStore:
    """One repository in a collection of a server."""

    def __init__(
        self, client: QdrantClient, call: Call, *, collection: str, params: models.SearchParams | None
    ) -> None:
        self._client, self._call, self._name, self._params = client, call, collection, params
        self._spaces: Mapping[str, int] = {}

    def check_format(self) -> None:
        """Raise `Conflict` for a collection that xcomp did not create or a newer version wrote."""
        written = self._metadata().get(FORMAT_KEY)
        if not isinstance(written, int):
            raise Conflict(f"collection {self._name} was not made by xcomp: use another repository name")
        if written > FORMAT:
            raise Conflict(f"collection {self._name} has format {written}, this version reads {FORMAT}: upgrade xcomp")

    def index(self, indexes: Mapping[str, IndexKind]) -> None:
        """Creates the payload indexes that are missing."""
        present = self._info().payload_schema
        for key in sorted(indexes.keys() - present.keys()):
            kind = _INDEX[indexes[key]]
            self._write(partial(self._client.create_payload_index, self._name, key, kind, wait=True))

    def spaces(self) -> Mapping[str, int]:
        """Names and dimensions of the spaces it holds."""
        vectors = self._info().config.params.vectors
        self._spaces = {name: each.size for name, each in vectors.items()} if isinstance(vectors, dict) else {}
        return dict(self._spaces)

    def add_space(self, name: str, dimension: int) -> None:
        """Adds a space to a live store."""
        validate.spaces({name: dimension})
        known = self.spaces().get(name)
        if known not in (None, dimension):
            raise Conflict(f"space {name!r} exists with dimension {known}, not {dimension}: use another name")
        if known is None:
            dense = models.DenseVectorConfig(size=dimension, distance=models.Distance.COSINE)
            config = models.DenseVectorNameConfig(dense=dense)
            self._write(lambda: self._client.create_vector_name(self._name, name, config, wait=True))

    def drop_space(self, name: str) -> None:
        """Removes a space of a live store."""
        if name in self.spaces():
            self._write(lambda: self._client.delete_vector_name(self._name, name, wait=True))
            self.spaces()

    def upsert(self, points: Sequence[Point]) -> None:
        """Writes whole points; none of them if one is invalid."""
        rows = validate.rows(points, self._spaces_with({space for point in points for space in point.vectors}))
        for part in validate.batches(rows):
            structs = [models.PointStruct(id=row.id, vector={**row.vectors}, payload=row.payload) for row in part]
            self._write(partial(self._client.upsert, self._name, structs, wait=True))

    def set_payload(self, ids: Sequence[str], patch: Payload) -> None:
        """Overwrites single payload keys of existing points."""
        plain, removed = validate.patch(patch)
        for part in validate.batches(validate.known_form(ids)):  # by filter: by id, an unknown one fails the request
            those = models.FilterSelector(filter=translate(Ids(frozenset(part))))
            if plain:
                self._write(partial(self._client.set_payload, self._name, plain, those, wait=True))
            if removed:
                self._write(partial(self._client.delete_payload, self._name, removed, those, wait=True))

    def set_vectors(self, space: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Writes one space's vectors of existing points."""
        plain = validate.vectors(space, vectors, self._spaces_with({space}))
        for part in validate.batches([each.id for each in self.get(list(plain))]):
            points = [models.PointVectors(id=each, vector={space: plain[each]}) for each in part]
            self._write(partial(self._client.update_vectors, self._name, points, wait=True))

    def delete(self, ids: Sequence[str]) -> None:
        """Removes points."""
        for part in validate.batches(validate.known_form(ids)):
            those = models.PointIdsList(points=[*part])
            self._write(partial(self._client.delete, self._name, those, wait=True))

    def near(self, queries: Sequence[VectorQuery]) -> list[list[ScoredPoint]]:
        """Answers each query."""
        spaces = self._spaces_with({near.space for near in queries})
        vectors = [validate.query(near, spaces) for near in queries]
        requests = [self._request(near, vector) for near, vector in zip(queries, vectors, strict=True)]
        found: list[list[models.ScoredPoint]] = []
        for start in range(0, len(requests), _QUERIES_PER_CALL):
            found += self._query(requests[start : start + _QUERIES_PER_CALL])
        return [
            paging.page(near, hits, fetch=partial(self._query_first, near, vector), read=_to_hit)
            for near, vector, hits in zip(queries, vectors, found, strict=True)
        ]

    def _query_first(self, near: VectorQuery, vector: list[float], take: int) -> list[models.ScoredPoint]:
        return self._query([self._request(near, vector, take=take)])[0]

    def _request(self, near: VectorQuery, vector: list[float], *, take: int | None = None) -> models.QueryRequest:
        return models.QueryRequest(
            query=vector,
            using=near.space,
            filter=_translate_optional(near.where),
            limit=take or paging.reach(near),
            score_threshold=paging.threshold(near),
            params=_EXACTLY if near.exact and self._params else self._params,
            with_payload=near.payload_limit != 0,
        )

    def _query(self, requests: Sequence[models.QueryRequest]) -> list[list[models.ScoredPoint]]:
        answers = self._call(lambda: self._client.query_batch_points(self._name, requests))
        return [answer.points for answer in answers]

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[ScoredPoint]:
        """Returns the points that exist, in the order of `ids`."""
        found: dict[str, ScoredPoint] = {}
        for part in validate.batches(validate.known_form(ids)):
            records = self._call(partial(self._client.retrieve, self._name, [*part], with_vectors=vectors))
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
        page = partial(
            self._client.scroll,
            self._name,
            scroll_filter=_translate_optional(where),
            limit=_PAGE,
            with_payload=True if fields is None else list(fields),
            with_vectors=vectors,
        )
        start: object = after
        while True:
            records, start = self._call(partial(page, offset=start))
            yield from (_to_point(record) for record in records if str(record.id) != after)
            if start is None:
                return

    def count(self, where: Filter | None = None) -> int:
        """Counts points exactly."""
        condition = _translate_optional(where)
        return self._call(lambda: self._client.count(self._name, count_filter=condition, exact=True)).count

    def meta(self) -> Meta:
        """What the repository layer keeps beside the vectors."""
        return dict(cast("Meta", self._metadata().get(_META_KEY) or {}))

    def set_meta(self, patch: Meta) -> None:
        """Overwrites single keys of `meta`; of two writers at the same moment the later one wins."""
        merged = validate.payload({**self.meta(), **patch})
        self._call(lambda: self._client.update_collection(self._name, metadata={FORMAT_KEY: FORMAT, _META_KEY: merged}))

    def size_bytes(self) -> int:
        """Returns 0: the disk is the server's."""
        return 0

    def backlog(self) -> float:
        """Return 0: the server manages its memory."""
        return 0.0

    def seal(self) -> Generator[Step, None, None]:
        """Do nothing: the server manages its memory."""
        yield from ()

    def wants_optimizing(self) -> bool:
        """Return False: the server manages its indexes."""
        return False

    def optimize(self) -> Generator[Step, None, None]:
        """Do nothing: the server manages its indexes."""
        yield from ()

    def snapshot(self) -> Snapshot:
        """Let the server take a snapshot on its own disk."""
        return _to_snapshot(self._call.run_once(lambda client: client.create_snapshot(self._name, wait=True)))

    def snapshots(self) -> list[Snapshot]:
        """Names the server's snapshots of this repository."""
        listed = self._call(lambda: self._client.list_snapshots(self._name))
        return sorted(map(_to_snapshot, listed), key=lambda each: (each.created, each.name))

    def flush(self) -> None:
        """Do nothing: the server has its own log, and every write waits for it."""

    def close(self) -> None:
        """Do nothing: the connections belong to all repositories."""

    def _info(self) -> models.CollectionInfo:
        return self._call(lambda: self._client.get_collection(self._name))

    def _metadata(self) -> Mapping[str, object]:
        return cast("Mapping[str, object]", self._info().config.metadata or {})

    def _spaces_with(self, names: set[str]) -> Mapping[str, int]:
        """Return the spaces; ask the server again if a name is unknown, since another indexer may have added it."""
        return self._spaces if names <= self._spaces.keys() else self.spaces()

    def _write(self, action: Callable[[], models.UpdateResult]) -> None:
        status = self._call(action).status
        if status != models.UpdateStatus.COMPLETED:
            raise Unavailable(f"the store {self._call.place} took a write but has not applied it: try again later")


def _to_hit(point: models.ScoredPoint, score: float) -> ScoredPoint:
    return ScoredPoint(str(point.id), score, point.payload or {})


def _to_point(record: models.Record) -> ScoredPoint:
    vectors = record.vector if isinstance(record.vector, dict) else {}
    return ScoredPoint(
        str(record.id),
        0.0,
        record.payload or {},
        {space: np.asarray(vector, np.float32) for space, vector in vectors.items()},
    )


def _translate_optional(where: Filter | None) -> models.Filter | None:
    return None if where is None else translate(validate.where(where))


def _to_snapshot(taken: models.SnapshotDescription | None) -> Snapshot:
    if taken is None:
        raise Unavailable("the store took a snapshot without a name: see the snapshots with --list")
    created = taken.creation_time or ""
    return Snapshot(taken.name, f"{created}Z" if created and not created.endswith("Z") else created, taken.size)
