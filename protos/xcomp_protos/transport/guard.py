"""What stands around every call: token, queue limit, one log line, errors as statuses.

It sees methods and outcomes, never requests: nothing a user asked for reaches the log from here.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NoReturn, TypeVar, cast

import grpc
from google.protobuf.message import Message

from xcomp_protos.transport.access import ALL, Access, Grant
from xcomp_protos.transport.errors import Cancelled, DeadlineExceeded, Denied, Unsupported, XcompError

log = logging.getLogger(__name__)

Part = TypeVar("Part")
Behaviour = Callable[..., object]  # a method as grpc calls it: (request, context)

MAX_ACTIVE_CALLS = 64  # beyond it a caller is told to come back
RETRY_AFTER_MS = 1000
MAX_MESSAGE_CHARACTERS = 600  # a status travels as a header, percent-encoded; clients drop headers over 8 KiB
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")


class Activity:
    """Counts the calls under way and knows since when there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._since = time.monotonic()

    def enter(self) -> int:
        """Counts a call in; returns how many are under way now."""
        with self._lock:
            self._active += 1
            return self._active

    def leave(self) -> None:
        """Counts a call out."""
        with self._lock:
            self._active -= 1
            self._since = time.monotonic()

    def touch(self) -> None:
        """Begins the idle time anew."""
        with self._lock:
            self._since = time.monotonic()

    def idle_s(self) -> float:
        """Seconds since the last call ended; 0 while one is under way."""
        with self._lock:
            return 0.0 if self._active else time.monotonic() - self._since


class Guard(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """The interceptor; health and reflection pass it unguarded."""

    def __init__(self, activity: Activity, access: Access | None) -> None:
        self._activity = activity
        self._access = access

    def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        """Wraps the method that a call names, as grpc asks of an interceptor."""
        handler = continuation(details)
        if handler is None or details.method.startswith(OPEN_SERVICES):
            self._activity.touch()  # whoever asks how it is will call in a moment: a server must not leave in between
            return handler
        call = _Call(details.method, self._activity, self._grant(details.invocation_metadata))
        if handler.response_streaming:
            many = handler.request_streaming
            make = grpc.stream_stream_rpc_method_handler if many else grpc.unary_stream_rpc_method_handler
            behaviour = call.streamed(handler.stream_stream or handler.unary_stream, many=many)
        else:
            many = handler.request_streaming
            make = grpc.stream_unary_rpc_method_handler if many else grpc.unary_unary_rpc_method_handler
            behaviour = call.single(handler.stream_unary or handler.unary_unary, many=many)
        return make(behaviour, handler.request_deserializer, handler.response_serializer)

    def _grant(self, metadata: Sequence[tuple[str, str | bytes]]) -> Grant | None:
        if self._access is None:
            return ALL
        given = dict(metadata).get("authorization", "")
        return self._access.grant_of(given.decode("latin-1") if isinstance(given, bytes) else given)


class _Call:
    """One method, guarded."""

    def __init__(self, method: str, activity: Activity, grant: Grant | None) -> None:
        self._method = method.rpartition("/")[2]
        self._activity = activity
        self._grant = grant

    def single(self, behaviour: Behaviour, *, many: bool) -> Behaviour:
        """Guards a method that answers once; `many` requests are an iterator of them."""

        def guarded(request: object, context: grpc.ServicerContext) -> object:
            with _Watch(self._method, self._activity, context, self._grant) as grant:
                response = behaviour(self._checked(request, grant, many=many), context)
                grant.narrow(response)
                return response

        return guarded

    def streamed(self, behaviour: Callable[..., Iterable[object]], *, many: bool) -> Behaviour:
        """Guards a method that answers with a stream; it stays under way until the stream is closed."""

        def guarded(request: object, context: grpc.ServicerContext) -> Iterator[object]:
            with _Watch(self._method, self._activity, context, self._grant) as grant:
                yield from behaviour(self._checked(request, grant, many=many), context)

        return guarded

    def _checked(self, request: object, grant: Grant, *, many: bool) -> object:
        if many:
            return grant.checked(self._method, cast("Iterator[Message]", request))
        grant.check_request(self._method, cast("Message", request))
        return request


class _Watch:
    """The life of one call, from admission to its log line."""

    def __init__(self, method: str, activity: Activity, context: grpc.ServicerContext, grant: Grant | None) -> None:
        self._method = method
        self._activity = activity
        self._context = context
        self._grant = grant
        self._started = time.monotonic()

    def __enter__(self) -> Grant:
        active = self._activity.enter()
        if self._grant is None:
            self._refuse(grpc.StatusCode.UNAUTHENTICATED, "missing or wrong token")
        try:
            self._grant.check_method(self._method)
        except Denied as error:
            self._refuse(error.code, str(error))
        if active > MAX_ACTIVE_CALLS:
            self._context.set_trailing_metadata((("retry-after-ms", str(RETRY_AFTER_MS)),))
            self._refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the queue is full: try again in {RETRY_AFTER_MS} ms")
        return self._grant

    def _refuse(self, code: grpc.StatusCode, message: str) -> NoReturn:
        self._finish(code.name)
        self._context.abort(code, message)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or kind is GeneratorExit:
            self._finish("OK" if error is None else "CANCELLED")
            return
        failure = self._failure(error)
        self._finish(failure.code.name)
        self._context.set_trailing_metadata((("xcomp-error", type(failure).__name__),))
        self._context.abort(failure.code, one_line(str(failure)))

    def _failure(self, error: BaseException) -> XcompError:
        if isinstance(error, XcompError):
            return error
        if isinstance(error, NotImplementedError):  # the generated base class, where a method was left out
            return Unsupported(f"{self._method} is not available in this version")
        # A defect of ours: the log has it whole, the caller gets no traceback.
        log.error("method=%s defect", self._method, exc_info=error)
        return XcompError("internal error: the server's log says more")

    def _finish(self, status: str) -> None:
        self._activity.leave()
        latency_ms = (time.monotonic() - self._started) * 1000
        log.info("method=%s status=%s latency_ms=%.1f", self._method, status, latency_ms)


def one_line(text: str) -> str:
    """Makes a message fit for a status: printable, on one line, bounded; it may quote whatever a caller sent."""
    plain = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return plain if len(plain) <= MAX_MESSAGE_CHARACTERS else f"{plain[: MAX_MESSAGE_CHARACTERS - 1]}…"


def received(parts: Iterator[Part], context: grpc.ServicerContext, *, idle_s: float) -> Iterator[Part]:
    """Yields what a caller streams in; the call ends when nothing comes for `idle_s`.

    Raises:
        Cancelled: the caller went away, or was silent for too long.
    """
    while True:
        timer = threading.Timer(idle_s, context.cancel)
        timer.start()
        try:
            part = next(parts)
        except StopIteration:
            return
        except grpc.RpcError:
            raise Cancelled("the caller went away, or sent nothing for too long") from None
        finally:
            timer.cancel()
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
