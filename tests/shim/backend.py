"""What both protocols of the shim share: the collections, the faults to inject and the requests seen."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.http import models


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of an answer."""

    status: int = 0  # HTTP status; gRPC says the same in its own words
    retry_after_s: int | None = None
    slow_s: float = 0.0
    drop: bool = False  # half an answer, then the connection ends (gRPC: UNAVAILABLE)
    unapplied: bool = False  # the write is done, but the answer says that its time ran out


@dataclass(frozen=True)
class Request:
    """A request that arrived."""

    name: str  # "PUT /collections/x/points", or the gRPC method
    query: dict[str, str]
    body: dict[str, Any]
    api_key: str | None


@dataclass
class Backend:
    """The collections behind both protocols."""

    api_key: str | None = None
    strict: bool = False  # refuses filters over keys without an index, as a server's strict mode does
    faults: deque[Fault] = field(default_factory=deque)
    seen: list[Request] = field(default_factory=list)
    indexes: dict[str, dict[str, models.PayloadIndexInfo]] = field(default_factory=dict)
    snapshots: dict[str, list[models.SnapshotDescription]] = field(default_factory=dict)
    client: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    lock: threading.RLock = field(default_factory=threading.RLock)

    def next_fault(self, api_key: str | None) -> Fault:
        if self.api_key is not None and api_key != self.api_key:
            return Fault(status=401)
        fault = self.faults.popleft() if self.faults else Fault()
        time.sleep(fault.slow_s)
        return fault

    def info(self, name: str) -> models.CollectionInfo:
        return self.client.get_collection(name).model_copy(update={"payload_schema": self.indexes.get(name, {})})

    def create(self, name: str, body: models.CreateCollection) -> bool:
        return self.client.create_collection(name, vectors_config=body.vectors, metadata=body.metadata)

    def index(self, name: str, field_name: str, kind: models.PayloadSchemaType) -> models.UpdateResult:
        self.indexes.setdefault(name, {})[field_name] = models.PayloadIndexInfo(data_type=kind, points=0)
        return done()

    def check(self, name: str, where: models.Filter | None) -> models.Filter | None:
        for key in _keys(where) if self.strict else ():
            if key not in self.indexes.get(name, {}):
                raise ValueError(f'Index required but not found for "{key}" of one of the following types: [keyword]')
        return where

    def count(self, name: str, where: models.Filter | None, exact: bool | None) -> models.CountResult:
        return self.client.count(name, self.check(name, where), exact=exact is not False)

    def snapshot(self, name: str) -> models.SnapshotDescription:
        self.info(name)  # there must be such a collection
        kept = self.snapshots.setdefault(name, [])
        stamp = f"2024-01-31T00:00:{len(kept):02}"
        kept.append(models.SnapshotDescription(name=f"{name}-{len(kept)}.snapshot", creation_time=stamp, size=7))
        return kept[-1]

    def scroll(self, name: str, body: models.ScrollRequest) -> models.ScrollResult:
        points, following = self.client.scroll(
            name,
            self.check(name, body.filter),
            limit=body.limit or 10,
            offset=body.offset,
            with_payload=True if body.with_payload is None else body.with_payload,
            with_vectors=body.with_vector or False,
        )
        return models.ScrollResult(points=points, next_page_offset=None if following is None else str(following))

    def query(self, name: str, searches: list[models.QueryRequest]) -> list[models.QueryResponse]:
        for each in searches:
            self.check(name, each.filter)
        exact = [each.model_copy(update={"params": None}) for each in searches]  # local mode would warn of them
        return self.client.query_batch_points(name, exact)

    def set_payload(self, name: str, body: models.SetPayload) -> models.UpdateResult:
        return self.client.set_payload(name, body.payload, _those(body))

    def delete_payload(self, name: str, body: models.DeletePayload) -> models.UpdateResult:
        return self.client.delete_payload(name, body.keys, _those(body))

    def add_vector(self, name: str, vector: str, body: models.DenseVectorNameConfig) -> models.UpdateResult:
        return self.client.create_vector_name(name, vector, body)

    def drop_vector(self, name: str, vector: str) -> models.UpdateResult:
        return self.client.delete_vector_name(name, vector)


def done() -> models.UpdateResult:
    return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def _those(body: models.SetPayload | models.DeletePayload) -> models.FilterSelector | models.PointIdsList:
    return models.FilterSelector(filter=body.filter) if body.filter else models.PointIdsList(points=body.points or [])


def _keys(part: object) -> Iterator[str]:
    """The keys of all conditions of a filter."""
    if isinstance(part, models.FieldCondition):
        yield part.key
    elif isinstance(part, models.IsEmptyCondition):
        yield part.is_empty.key
    elif isinstance(part, models.Filter):
        for group in (part.must, part.should, part.must_not):
            for each in group if isinstance(group, list) else [group]:
                yield from _keys(each)
