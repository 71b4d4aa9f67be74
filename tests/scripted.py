"""A service whose behaviour each test sets, over real gRPC."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client import IndexerClient
from xcomp_protos.server import auth, interceptor
from xcomp_protos.server.run import RunningServer, ServerEndpoint, ServiceSpec, start_server


class Scripted(rpc.IndexerServicer):
    """Runs in each call what the test sets; it lacks the other methods."""

    def __init__(self) -> None:
        self.describe: Callable[[], None] = lambda: None
        self.begin: Callable[[], None] = lambda: None  # of a stream
        self.delete: Callable[[], None] | None = None
        self.closed = threading.Event()
        self.events = 3
        self.event = pb.IngestEvent()
        self.pause_s = 0.01

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeResponse:  # noqa: N802
        self.describe()
        return pb.DescribeResponse(version="1")

    def Ingest(self, request: pb.IngestRequest, context: grpc.ServicerContext) -> Iterator[pb.IngestEvent]:  # noqa: N802
        self.begin()
        try:
            for _ in range(self.events):
                yield self.event
                time.sleep(self.pause_s)
            self.describe()
        finally:
            self.closed.set()

    def Delete(self, request: pb.DeleteRequest, context: grpc.ServicerContext) -> pb.DeleteResponse:  # noqa: N802
        if self.delete is None:
            raise NotImplementedError
        self.delete()
        return pb.DeleteResponse()

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> pb.SearchResponse:  # noqa: N802
        return pb.SearchResponse(seconds=interceptor.remaining_s(context, default=60))


def scripted_service() -> Scripted:
    return Scripted()  # type: ignore[abstract]  # the missing methods are part of the test


@contextmanager
def running(service: Scripted, listen: str = "127.0.0.1:0", token: str | None = None) -> Iterator[RunningServer]:
    registered = ServiceSpec("xcomp.v1.Indexer", lambda server: rpc.add_IndexerServicer_to_server(service, server))
    with start_server(
        [registered], ServerEndpoint(listen, access=auth.allow_token(token) if token else None)
    ) as server:
        yield server


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def calling(service: Scripted, *, timeout_s: float = 60) -> Iterator[IndexerClient]:
    with running(service) as server, IndexerClient(server.address, timeout_s=timeout_s) as client:
        yield client


def raising(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action
