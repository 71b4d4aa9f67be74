"""What surrounds every call: authentication, time-outs of silent callers, and the accounting of `admission.py`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError, Message

from xcomp_protos.errors import Cancelled, DeadlineExceeded, InvalidRequest, XcompError
from xcomp_protos.server.admission import CallAdmission
from xcomp_protos.server.auth import ALL, Access, Grant
from xcomp_protos.server.idle import ActiveCalls
from xcomp_protos.server.timeouts import patience

Behaviour = Callable[..., Any]  # a method as gRPC calls it: a message or many, and the context

SILENT_S = 60.0  # for a caller that does not send the next part of its request
DEAF_S = 120.0  # for a caller that does not take the next part of its answer
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection."
_UNREADABLE = object()


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """The interceptor. Health and reflection ask for no token; health answers even when the queue is full."""

    def __init__(self, activity: ActiveCalls, access: Access | None) -> None:
        self._activity = activity
        self._access = access

    def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        """Wraps the method that a call names, as grpc asks of an interceptor.

        A method that takes one message is served as one that takes a stream, which is the same on the wire: gRPC would
        hold a thread until that message comes, and we would learn of the call only then.
        """
        handler = continuation(details)
        if handler is None or details.method.startswith(HEALTH):
            self._activity.touch()  # whoever asks how it is will call in a moment: a server must not leave in between
        if handler is None:
            return None
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        if details.method.startswith(HEALTH):
            return _remade(handler, _unadmitted(behaviour))
        grant = ALL if details.method.startswith(REFLECTION) else self._grant(details.invocation_metadata)
        call = _RpcCall(details.method, self._activity, behaviour, grant, many=handler.request_streaming)
        return _remade(handler, call.streamed if handler.response_streaming else call.single)

    def _grant(self, metadata: Sequence[tuple[str, str | bytes]]) -> Grant | None:
        if self._access is None:
            return ALL
        given = dict(metadata).get("authorization", "")
        return self._access.grant_of(given.decode("latin-1") if isinstance(given, bytes) else given)


class _RpcCall:
    """One method, guarded: admitted first, read then, so that a stranger's request is never taken in."""

    def __init__(
        self, method: str, activity: ActiveCalls, behaviour: Behaviour, grant: Grant | None, *, many: bool
    ) -> None:
        self._method = method
        self._activity = activity
        self._behaviour = behaviour
        self._grant = grant
        self._many = many

    def single(self, parts: Iterator[object], context: grpc.ServicerContext) -> object:
        """Runs a method that answers once."""
        with self._watch(context) as grant:
            response = self._behaviour(self._request(parts, context, grant), context)
            grant.narrow(response)
            return response

    def streamed(self, parts: Iterator[object], context: grpc.ServicerContext) -> Iterator[object]:
        """Runs a method that answers with a stream; it stays under way until the stream is closed."""
        with self._watch(context) as grant:
            yield from _taken(self._behaviour(self._request(parts, context, grant), context), context)

    def _watch(self, context: grpc.ServicerContext) -> CallAdmission:
        return CallAdmission(self._method, self._activity, context, self._grant)

    def _request(self, parts: Iterator[object], context: grpc.ServicerContext, grant: Grant) -> object:
        given = map(_readable, _received(parts, context))
        name = self._method.rpartition("/")[2]
        if self._many:
            return grant.checked(name, given)
        request = _only(given)
        grant.check_request(name, request)
        return request


def _remade(handler: Any, guarded: Behaviour) -> Any:  # grpc's handler has no public type
    make = grpc.stream_stream_rpc_method_handler if handler.response_streaming else grpc.stream_unary_rpc_method_handler
    return make(guarded, _reading(handler.request_deserializer), handler.response_serializer)


def _unadmitted(behaviour: Behaviour) -> Behaviour:
    """Answers however full the queue is; what gRPC knows of the method stays known."""

    @wraps(behaviour)
    def guarded(parts: Iterator[object], context: grpc.ServicerContext, *more: object) -> object:
        try:
            request = _only(map(_readable, _received(parts, context)))
        except XcompError as error:
            return context.abort(error.code, str(error))
        return behaviour(request, context, *more)

    return guarded


def _only(parts: Iterator[Message]) -> Message:
    for part in parts:
        return part
    raise InvalidRequest("the call carries no request")


def _readable(part: object) -> Message:
    if part is _UNREADABLE:
        raise InvalidRequest("the request is no message that this method knows: compile the protos of this version")
    return cast("Message", part)


def _taken(parts: Iterable[object], context: grpc.ServicerContext) -> Iterator[object]:
    """Yields an answer; the call ends when the caller does not take a part of it in time."""
    iterator = iter(parts)
    while True:
        try:
            part = next(iterator)
        except StopIteration:
            return
        with patience.limit(DEAF_S, context.cancel):
            yield part


def _reading(deserialize: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Reads a message; gRPC would answer one that cannot be read as a defect of ours, with a traceback in the log."""

    def read(content: bytes) -> object:
        try:
            return deserialize(content)
        except DecodeError:
            return _UNREADABLE

    return read


def _received(parts: Iterator[object], context: grpc.ServicerContext) -> Iterator[object]:
    """Yields what a caller sends; raises Cancelled when it went away, or was silent for too long."""
    while True:
        try:
            with patience.limit(SILENT_S, context.cancel):
                part = next(parts)
        except StopIteration:
            return
        except grpc.RpcError:
            raise Cancelled("the caller went away, or sent nothing for too long") from None
        yield part


def remaining_s(context: grpc.ServicerContext, *, default: float) -> float:
    """Returns the seconds the caller still grants.

    Raises:
        DeadlineExceeded: none are left.
    """
    left = context.time_remaining()
    if left is None:
        return default
    if left <= 0:
        raise DeadlineExceeded("the deadline of the request has passed")
    return min(float(left), default)
