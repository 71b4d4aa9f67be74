"""What surrounds every call: authentication, time-outs of slow callers, the size of messages, and `admission.py`."""

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError, Message

from xcomp_protos.client.channel import MAX_MESSAGE_BYTES
from xcomp_protos.errors import Cancelled, DeadlineExceeded, InvalidRequest, TooLarge, XcompError
from xcomp_protos.server.admission import CallAdmission
from xcomp_protos.server.auth import ALL, Access, Grant, current_grant
from xcomp_protos.server.idle import ActiveCalls
from xcomp_protos.server.lanes import SmallLane, WatcherContext, Watchers
from xcomp_protos.server.timeouts import call_timeouts

Behaviour = Callable[..., Any]  # a method as gRPC calls it: a message or an iterator of them, and the context

SILENT_S = 60.0  # for a caller to send the next message of its request
DEAF_S = 120.0  # for a caller to take the next message of the answer
HEALTH_S = 1.0  # for a health check to send its one message
REFLECTION_S = 10.0  # for all messages of a reflection stream together
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection."
_UNREADABLE = object()


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic only in the stubs
    """The interceptor. Health needs no token, and answers when the queue is full; reflection needs one of any role.

    gRPC calls `intercept_service` before it takes a thread for the call. Health, reflection and the refusals of calls
    without a token have threads of their own. Where too many wait for those, a call ends like that of a missing method.
    """

    def __init__(self, activity: ActiveCalls, access: Access | None, admitted: Callable[[str], object]) -> None:
        self._activity = activity
        self._access = access
        self._admitted = admitted  # gets the peer of each call that was admitted
        self._health = SmallLane("health", seconds=HEALTH_S, hurried_s=0.05)
        self._reflection = SmallLane("reflection", seconds=REFLECTION_S, hurried_s=1.0)
        self._refusals = SmallLane("refusals", seconds=5.0, hurried_s=1.0, waiting=128)
        self.watchers = Watchers()

    def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        """Wraps the method that a call names, as gRPC asks of an interceptor.

        A method that takes one message is served as one that takes a stream, which is the same on the wire. Otherwise
        gRPC would hold a thread until that message comes, and the server would learn of the call only then.
        """
        handler = continuation(details)
        if handler is None or details.method.startswith(HEALTH):
            self._activity.touch()  # a health check announces a call: the server must not leave in between
        if handler is None:
            return None
        if details.method.startswith(HEALTH):
            return self._serve_health(handler)
        grant = self._grant(details.invocation_metadata)
        call = _RpcCall(details.method, self._activity, handler, grant, self._admitted)
        behaviour = call.stream if handler.response_streaming else call.answer
        if grant is None:
            return _rebuild(handler, self._refusals, behaviour, serialize=None)
        if details.method.startswith(REFLECTION):
            return _rebuild(handler, self._reflection, _behaviour(handler), serialize=handler.response_serializer)
        return _rebuild(handler, None, behaviour, serialize=None)

    def close(self) -> None:
        """Ends the threads."""
        for lane in (self._health, self._reflection, self._refusals):
            lane.close()

    def _grant(self, metadata: Sequence[tuple[str, str | bytes]]) -> Grant | None:
        if self._access is None:
            return ALL
        given = dict(metadata).get("authorization", "")
        return self._access.find_grant(given.decode("latin-1") if isinstance(given, bytes) else given)

    def _serve_health(self, handler: Any) -> Any:
        watch = self._watch if handler.response_streaming else None
        behaviour = _without_admission(_behaviour(handler), watch)
        return _rebuild(handler, self._health, behaviour, serialize=handler.response_serializer)

    def _watch(self, context: grpc.ServicerContext) -> WatcherContext:
        self.watchers.add(context)
        return WatcherContext(context, self._health.pool)


class _RpcCall:
    """A guarded method: it admits a call before it reads the request, so that a stranger's request is never read."""

    def __init__(
        self,
        method: str,
        activity: ActiveCalls,
        handler: Any,
        grant: Grant | None,
        admitted: Callable[[str], object],
    ) -> None:
        self._method = method
        self._activity = activity
        self._handler = handler
        self._grant = grant
        self._admitted = admitted

    def answer(self, parts: Iterator[object], context: grpc.ServicerContext) -> bytes:
        """Runs a method that answers with one message; returns it serialized."""
        with self._admit(context) as grant:
            self._admitted(context.peer())
            response = self._behave(parts, context, grant)
            grant.narrow(response)
            return self._serialize(response)

    def stream(self, parts: Iterator[object], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Runs a method that answers with a stream; yields its messages serialized.

        The call is active until the stream is closed. It is cancelled when the caller does not take a message in time.
        """
        with self._admit(context) as grant:
            self._admitted(context.peer())
            for part in self._behave(parts, context, grant):
                content = self._serialize(part)
                with call_timeouts.limit(DEAF_S, context.cancel):
                    yield content

    def _admit(self, context: grpc.ServicerContext) -> CallAdmission:
        return CallAdmission(self._method, self._activity, context, self._grant)

    def _behave(self, parts: Iterator[object], context: grpc.ServicerContext, grant: Grant) -> Any:
        current_grant.set(grant)  # each call has its own context: no reset is needed
        given = map(_check_readable, _receive(parts, context))
        name = self._method.rpartition("/")[2]
        if self._handler.request_streaming:
            return _behaviour(self._handler)(grant.check_requests(name, given), context)
        request = _first(given)
        grant.check_request(name, request)
        return _behaviour(self._handler)(request, context)

    def _serialize(self, response: object) -> bytes:
        """Serializes a message; gRPC would refuse a large one only after the call, and a client would repeat it."""
        content: bytes = self._handler.response_serializer(response)
        if len(content) > MAX_MESSAGE_BYTES:
            raise TooLarge(f"the answer has {len(content)} bytes, more than one message may have: ask for less at once")
        return content


def _behaviour(handler: Any) -> Behaviour:
    behaviour: Behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return behaviour


def _rebuild(
    handler: Any, lane: SmallLane | None, behaviour: Behaviour, *, serialize: Callable[[Any], bytes] | None
) -> Any:
    """Returns a handler as gRPC takes it, which has no public type; None if too many calls wait for the lane."""
    if lane:
        if not lane.enqueue():
            return None
        behaviour = _in_lane(lane, behaviour, streams=handler.response_streaming)
    make = grpc.stream_stream_rpc_method_handler if handler.response_streaming else grpc.stream_unary_rpc_method_handler
    return make(behaviour, _read_any(handler.request_deserializer), serialize)


def _in_lane(lane: SmallLane, behaviour: Behaviour, *, streams: bool) -> Behaviour:
    """Returns the behaviour within the threads and the time of a lane; attributes that gRPC looks at are kept."""

    @wraps(behaviour)
    def answer(*arguments: Any) -> object:
        with lane.occupy(arguments[1]):
            return behaviour(*arguments)

    @wraps(behaviour)
    def stream(*arguments: Any) -> Iterator[object]:
        with lane.occupy(arguments[1]):
            yield from behaviour(*arguments)

    is_generator = streams and not getattr(behaviour, "experimental_non_blocking", False)
    wrapped: Any = stream if is_generator else answer
    wrapped.experimental_thread_pool = lane.pool  # gRPC runs the call there
    return wrapped  # type: ignore[no-any-return]


def _without_admission(behaviour: Behaviour, watch: Callable[[grpc.ServicerContext], object] | None) -> Behaviour:
    """Answers even when the queue is full; `watch` returns the context for a stream that goes on without a thread."""

    @wraps(behaviour)
    def answer(parts: Iterator[object], context: grpc.ServicerContext, *more: object) -> object:
        try:
            request = _first(map(_check_readable, _receive(parts, context)))
        except XcompError as error:
            return context.abort(error.code, str(error))
        return behaviour(request, watch(context) if watch else context, *more)

    return answer


def _first(parts: Iterator[Message]) -> Message:
    for part in parts:
        return part
    raise InvalidRequest("the call has no request")


def _check_readable(part: object) -> Message:
    if part is _UNREADABLE:
        raise InvalidRequest("the request is not a message of this method: compile the protos of this version")
    return cast("Message", part)


def _read_any(deserialize: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Wraps a deserializer: gRPC would log an unreadable message as a defect of the server, with a traceback."""

    def read(content: bytes) -> object:
        try:
            return deserialize(content)
        except DecodeError:
            return _UNREADABLE

    return read


def _receive(parts: Iterator[object], context: grpc.ServicerContext) -> Iterator[object]:
    """Yields what a caller sends; raises `Cancelled` when it has left or was silent for too long."""
    while True:
        try:
            with call_timeouts.limit(SILENT_S, context.cancel):
                part = next(parts)
        except StopIteration:
            return
        except grpc.RpcError:
            raise Cancelled("the caller left, or sent nothing for too long") from None
        yield part


def remaining_s(context: grpc.ServicerContext, *, default: float) -> float:
    """Returns the seconds until the deadline of a call, at most `default`.

    Raises:
        DeadlineExceeded: the deadline has passed.
    """
    left = context.time_remaining()
    if left is None:
        return default
    if left <= 0:
        raise DeadlineExceeded("the deadline of the request has passed")
    return min(float(left), default)
