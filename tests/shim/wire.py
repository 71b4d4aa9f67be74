"""The shim over gRPC: messages go through the client's own stubs and converters."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import collections_service_pb2_grpc as services
from qdrant_client.grpc import points_service_pb2_grpc as points
from qdrant_client.grpc import snapshots_service_pb2_grpc as snapshots
from qdrant_client.http import models

from tests.shim.backend import Backend, Request

_CODES = {401: grpc.StatusCode.UNAUTHENTICATED, 429: grpc.StatusCode.RESOURCE_EXHAUSTED}


def _rpc(answer: Callable[[Backend, Any], Any]) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
    """Wraps one RPC with the recording, the faults and the errors that all share."""

    def method(servicer: Any, request: Any, context: grpc.ServicerContext) -> Any:
        on: Backend = servicer.backend
        api_key = {key: str(value) for key, value in context.invocation_metadata()}.get("api-key")
        body = {descriptor.name: value for descriptor, value in request.ListFields()}
        on.seen.append(Request(type(request).__name__, {}, body, api_key))
        fault = on.next_fault(api_key)
        if fault.retry_after_s is not None:
            context.set_trailing_metadata((("retry-after", str(fault.retry_after_s)),))
        if fault.status or fault.drop:
            context.abort(_CODES.get(fault.status, grpc.StatusCode.UNAVAILABLE), "injected")
        try:
            with on.lock:
                result = answer(on, request)
        except ValueError as error:
            unknown = str(error).startswith("Collection")
            context.abort(grpc.StatusCode.NOT_FOUND if unknown else grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if fault.unapplied and isinstance(result, wire.PointsOperationResponse):
            result.result.status = wire.UpdateStatus.WaitTimeout
        return result

    return method


def _written(result: models.UpdateResult) -> Any:
    return wire.PointsOperationResponse(result=RestToGrpc.convert_update_result(result))


def _where(request: Any) -> models.Filter | None:
    return GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None


def _payload(request: Any) -> Any:
    return GrpcToRest.convert_with_payload_selector(request.with_payload)


def _vectors(request: Any) -> Any:
    return GrpcToRest.convert_with_vectors_selector(request.with_vectors) if request.HasField("with_vectors") else False


def _retrieve(records: list[models.Record]) -> Any:
    return [RestToGrpc.convert_record(record) for record in records]


def _scroll(on: Backend, request: Any) -> Any:
    body = models.ScrollRequest(
        limit=request.limit if request.HasField("limit") else None,
        offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
        filter=_where(request),
        with_payload=_payload(request),
        with_vector=_vectors(request),
    )
    result = on.scroll(request.collection_name, body)
    following = result.next_page_offset
    offset = None if following is None else RestToGrpc.convert_extended_point_id(following)
    return wire.ScrollResponse(result=_retrieve(result.points), next_page_offset=offset)


def _query(on: Backend, request: Any) -> Any:
    searches = [GrpcToRest.convert_query_points(each) for each in request.query_points]
    answers = on.query(request.collection_name, searches)
    return wire.QueryBatchResponse(
        result=[
            wire.BatchResult(result=[RestToGrpc.convert_scored_point(hit) for hit in answer.points])
            for answer in answers
        ]
    )


def _with_vector(on: Backend, request: Any) -> Any:
    dense = request.dense_config
    config = models.DenseVectorConfig(size=dense.size, distance=GrpcToRest.convert_distance(dense.distance))
    return on.add_vector(request.collection_name, request.vector_name, models.DenseVectorNameConfig(dense=config))


_KINDS = {
    wire.FieldType.FieldTypeKeyword: models.PayloadSchemaType.KEYWORD,
    wire.FieldType.FieldTypeInteger: models.PayloadSchemaType.INTEGER,
    wire.FieldType.FieldTypeFloat: models.PayloadSchemaType.FLOAT,
    wire.FieldType.FieldTypeDatetime: models.PayloadSchemaType.DATETIME,
}

_COLLECTIONS: dict[str, Callable[[Backend, Any], Any]] = {
    "List": lambda on, request: wire.ListCollectionsResponse(
        collections=[wire.CollectionDescription(name=each.name) for each in on.client.get_collections().collections]
    ),
    "CollectionExists": lambda on, request: wire.CollectionExistsResponse(
        result=wire.CollectionExists(exists=on.client.collection_exists(request.collection_name))
    ),
    "Get": lambda on, request: wire.GetCollectionInfoResponse(
        result=RestToGrpc.convert_collection_info(on.info(request.collection_name))
    ),
    "Create": lambda on, request: wire.CollectionOperationResponse(
        result=on.client.create_collection(
            request.collection_name,
            vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config),
            metadata=GrpcToRest.convert_payload(request.metadata),
        )
    ),
    "Update": lambda on, request: wire.CollectionOperationResponse(
        result=on.client.update_collection(
            request.collection_name, metadata=GrpcToRest.convert_payload(request.metadata)
        )
    ),
    "Delete": lambda on, request: wire.CollectionOperationResponse(
        result=on.client.delete_collection(request.collection_name)
    ),
}

_POINTS: dict[str, Callable[[Backend, Any], Any]] = {
    "CreateFieldIndex": lambda on, request: _written(
        on.index(request.collection_name, request.field_name, _KINDS[request.field_type])
    ),
    "CreateVectorName": lambda on, request: _written(_with_vector(on, request)),
    "DeleteVectorName": lambda on, request: _written(on.drop_vector(request.collection_name, request.vector_name)),
    "Upsert": lambda on, request: _written(
        on.client.upsert(request.collection_name, [GrpcToRest.convert_point_struct(point) for point in request.points])
    ),
    "Get": lambda on, request: wire.GetResponse(
        result=_retrieve(
            on.client.retrieve(
                request.collection_name,
                [GrpcToRest.convert_point_id(each) for each in request.ids],
                _payload(request),
                _vectors(request),
            )
        )
    ),
    "SetPayload": lambda on, request: _written(
        on.client.set_payload(
            request.collection_name,
            GrpcToRest.convert_payload(request.payload),
            GrpcToRest.convert_points_selector(request.points_selector),
        )
    ),
    "DeletePayload": lambda on, request: _written(
        on.client.delete_payload(
            request.collection_name,
            list(request.keys),
            GrpcToRest.convert_points_selector(request.points_selector),
        )
    ),
    "UpdateVectors": lambda on, request: _written(
        on.client.update_vectors(
            request.collection_name, [GrpcToRest.convert_point_vectors(each) for each in request.points]
        )
    ),
    "Delete": lambda on, request: _written(
        on.client.delete(request.collection_name, GrpcToRest.convert_points_selector(request.points))
    ),
    "Scroll": _scroll,
    "Count": lambda on, request: wire.CountResponse(
        result=wire.CountResult(count=on.count(request.collection_name, _where(request), request.exact).count)
    ),
    "QueryBatch": _query,
}

_SNAPSHOTS: dict[str, Callable[[Backend, Any], Any]] = {
    "Create": lambda on, request: wire.CreateSnapshotResponse(
        snapshot_description=RestToGrpc.convert_snapshot_description(on.snapshot(request.collection_name))
    ),
    "List": lambda on, request: wire.ListSnapshotsResponse(
        snapshot_descriptions=[
            RestToGrpc.convert_snapshot_description(each) for each in on.snapshots.get(request.collection_name, [])
        ]
    ),
}


def serve(backend: Backend, port: int, pem: Path | None = None) -> tuple[int, Callable[[], None]]:
    """Starts a server and returns its port and what stops it."""
    server = grpc.server(ThreadPoolExecutor(4))
    for base, answers, register in (
        (services.CollectionsServicer, _COLLECTIONS, services.add_CollectionsServicer_to_server),
        (points.PointsServicer, _POINTS, points.add_PointsServicer_to_server),
        (snapshots.SnapshotsServicer, _SNAPSHOTS, snapshots.add_SnapshotsServicer_to_server),
    ):
        methods: dict[str, object] = {name: _rpc(answer) for name, answer in answers.items()}
        register(type("Servicer", (base,), {**methods, "backend": backend})(), server)  # type: ignore[no-untyped-call]  # the client ships no types
    if pem:
        content = pem.read_bytes()
        bound = server.add_secure_port(f"localhost:{port}", grpc.ssl_server_credentials([(content, content)]))
    else:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()

    def stop() -> None:
        server.stop(0).wait()

    return bound, stop
