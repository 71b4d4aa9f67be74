"""Calls to the indexer on behalf of one request: they end with its deadline, and are cancelled together with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from xcomp_composer.indexer_client.call_context import CallContext
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client.channel import translate_errors
from xcomp_protos.errors import Cancelled, DeadlineExceeded

Response = TypeVar("Response")


@dataclass(frozen=True)
class IndexerConnection:
    """Calls to an indexer on behalf of one request."""

    stub: rpc.IndexerStub
    address: str
    context: CallContext

    def call(self, method: Callable[..., Response], request: object) -> Response:
        """Calls a method that answers once; raises the XcompError of its status."""
        with translate_errors("indexer", self.address):
            pending = method.future(request, timeout=self.context.remaining_s())  # type: ignore[attr-defined]  # of grpc's multi-callables
            self.context.on_cancel(pending.cancel)
            try:
                response: Response = pending.result()
            except grpc.FutureCancelledError:
                raise Cancelled("the caller went away") from None
            except grpc.FutureTimeoutError:
                raise DeadlineExceeded("the deadline of the request has passed") from None
        return response

    def fetch(self, request: pb.FetchRequest) -> bytes:
        """Returns the bytes of an image."""
        with translate_errors("indexer", self.address):
            parts = self.stub.Fetch(request, timeout=self.context.remaining_s())
            self.context.on_cancel(parts.cancel)
            return b"".join(part.chunk for part in parts)
