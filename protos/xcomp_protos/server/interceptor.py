"""What surrounds every call: authentication, time-outs of slow callers, the size of messages, and `admission.py`."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError, Message

from xcomp_protos.client.channel import MAX_MESSAGE_BYTES
from xcomp_protos.errors import Cancelled, DeadlineExceeded, InvalidRequest, TooLarge, XcompError
from xcomp_protos.server.admission import CallAdmission
from xcomp_protos.server.auth import ALL, Access, Grant
from xcomp_protos.server.idle import ActiveCalls

Behaviour = Callable[..., Any]  # a method as gRPC calls it: a message or an iterator of them, and the context

SILENT_S = 60.0  # for a caller to send the next message of its request
DEAF_S = 120.0  # for a caller to take the next message of the answer
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection."
_UNREADABLE = object()


class CallTimeouts:
    """Ends what takes too long, so that silent or slow callers hold no thread; gRPC itself waits for ever.

    One thread watches, and only while there is something to watch.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[object, tuple[float, Callable[[], object]]] = {}
        self._watching = False
        self._asleep = False  # the thread waits for a notification; otherwise it looks every second
        self._idle = False  # no limit was set since the thread last looked

    @contextmanager
    def limit(self, seconds: float, give_up: Callable[[], object]) -> Iterator[None]:
        """Calls `give_up` from another thread if the body takes longer."""
        key = object()
        with self._changed:
            self._ends[key] = time.monotonic() + seconds, give_up
            self._idle = False
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="call-timeouts", daemon=True).start()
            if self._asleep:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._ends.pop(key, None)

    def _watch(self) -> None:
        while True:
            for give_up in self._overdue():
                give_up()

    def _overdue(self) -> list[Callable[[], object]]:
        with self._changed:
            now = time.monotonic()
            late = [key for key, (end, _) in self._ends.items() if end <= now]
            if not late:  # limits notify no thread that is awake: it looks often enough for them
                self._asleep, self._idle = self._idle and not self._ends, not self._ends
                soonest = min((end - now for end, _ in self._ends.values()), default=1.0)
                self._changed.wait(None if self._asleep else min(1.0, soonest))
                self._asleep = False
            return [self._ends.pop(key)[1] for key in late]


call_timeouts = CallTimeouts()  # of the whole process: a thread for each server would be of no use


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic only in the stubs
    """The interceptor. Health and reflection need no token; health answers even when the queue is full."""

    def __init__(self, activity: ActiveCalls, access: Access | None) -> None:
        self._activity = activity
        self._access = access

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
            return _rebuild(handler, _without_admission(_behaviour(handler)), serialize=handler.response_serializer)
        grant = ALL if details.method.startswith(REFLECTION) else self._grant(details.invocation_metadata)
        call = _RpcCall(details.method, self._activity, handler, grant)
        return _rebuild(handler, call.stream if handler.response_streaming else call.answer, serialize=None)

    def _grant(self, metadata: Sequence[tuple[str, str | bytes]]) -> Grant | None:
        if self._access is None:
            return ALL
        given = dict(metadata).get("authorization", "")
        return self._access.find_grant(given.decode("latin-1") if isinstance(given, bytes) else given)


class _RpcCall:
    """A guarded method: it admits a call before it reads the request, so that a stranger's request is never read."""

    def __init__(self, method: str, activity: ActiveCalls, handler: Any, grant: Grant | None) -> None:
        self._method = method
        self._activity = activity
        self._handler = handler
        self._grant = grant

    def answer(self, parts: Iterator[object], context: grpc.ServicerContext) -> bytes:
        """Runs a method that answers with one message; returns it serialized."""
        with self._admit(context) as grant:
            response = self._behave(parts, context, grant)
            grant.narrow(response)
            return self._serialize(response)

    def stream(self, parts: Iterator[object], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Runs a method that answers with a stream; yields its messages serialized.

        The call is active until the stream is closed. It is cancelled when the caller does not take a message in time.
        """
        with self._admit(context) as grant:
            for part in self._behave(parts, context, grant):
                content = self._serialize(part)
                with call_timeouts.limit(DEAF_S, context.cancel):
                    yield content

    def _admit(self, context: grpc.ServicerContext) -> CallAdmission:
        return CallAdmission(self._method, self._activity, context, self._grant)

    def _behave(self, parts: Iterator[object], context: grpc.ServicerContext, grant: Grant) -> Any:
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


def _rebuild(handler: Any, behaviour: Behaviour, *, serialize: Callable[[Any], bytes] | None) -> Any:
    """Returns a handler as gRPC takes it, which has no public type."""
    make = grpc.stream_stream_rpc_method_handler if handler.response_streaming else grpc.stream_unary_rpc_method_handler
    return make(behaviour, _read_any(handler.request_deserializer), serialize)


def _without_admission(behaviour: Behaviour) -> Behaviour:
    """Answers even when the queue is full; attributes of the method that gRPC looks at are kept."""

    @wraps(behaviour)
    def answer(parts: Iterator[object], context: grpc.ServicerContext, *more: object) -> object:
        try:
            request = _first(map(_check_readable, _receive(parts, context)))
        except XcompError as error:
            return context.abort(error.code, str(error))
        return behaviour(request, context, *more)

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
