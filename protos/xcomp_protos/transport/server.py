"""How every server of xcomp runs: limits, health, reflection, errors as statuses, idle time-out, drain on SIGTERM.

The services themselves know none of it; they raise `XcompError` and return messages.
"""

import hmac
import logging
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from xcomp_protos.transport.channel import OPTIONS
from xcomp_protos.transport.errors import DeadlineExceeded, Unavailable, XcompError

log = logging.getLogger(__name__)

Behaviour = Callable[..., object]  # a method as grpc calls it: (request, context)

MAX_ACTIVE_CALLS = 64  # beyond it a caller is told to come back
RETRY_AFTER_MS = 1000
DRAIN_S = 25  # compose kills after 30
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")


@dataclass(frozen=True)
class Service:
    """A gRPC service and how it is added to a server."""

    name: str  # full name, xcomp.v1.Indexer
    register: Callable[[grpc.Server], None]


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens and for how long."""

    listen: str  # host:port, port 0 for any, or unix:/path
    token: str | None = None  # asked of every call when set
    idle_timeout_s: float | None = None  # leaves after so long without a call; None: never
    announce: Callable[[str], None] | None = None  # told the bound address once calls are taken


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

    def idle_s(self) -> float:
        """Seconds since the last call ended; 0 while one is under way."""
        with self._lock:
            return 0.0 if self._active else time.monotonic() - self._since


class _Guard(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Stands around every call: token, queue limit, one log line, errors as statuses."""

    def __init__(self, activity: Activity, token: str | None) -> None:
        self._activity = activity
        self._token = token

    def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        handler = continuation(details)
        if handler is None or details.method.startswith(OPEN_SERVICES):
            return handler
        allowed = self._allowed(details.invocation_metadata)
        call = _Call(details.method, self._activity, allowed)
        if handler.response_streaming:
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else (grpc.unary_stream_rpc_method_handler)
            )
            behaviour = call.streamed(handler.stream_stream or handler.unary_stream)
        else:
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else (grpc.unary_unary_rpc_method_handler)
            )
            behaviour = call.single(handler.stream_unary or handler.unary_unary)
        return make(behaviour, handler.request_deserializer, handler.response_serializer)

    def _allowed(self, metadata: Sequence[tuple[str, str | bytes]]) -> bool:
        if self._token is None:
            return True
        given = dict(metadata).get("authorization", "")
        text = given.decode("latin-1") if isinstance(given, bytes) else given
        return hmac.compare_digest(text.encode(), f"Bearer {self._token}".encode())


class _Call:
    """One method, guarded."""

    def __init__(self, method: str, activity: Activity, allowed: bool) -> None:
        self._method = method.rpartition("/")[2]
        self._activity = activity
        self._allowed = allowed

    def single(self, behaviour: Behaviour) -> Behaviour:
        """Guards a method that answers once."""

        def guarded(request: object, context: grpc.ServicerContext) -> object:
            with _Watch(self._method, self._activity, context, allowed=self._allowed):
                return behaviour(request, context)

        return guarded

    def streamed(self, behaviour: Callable[..., Iterable[object]]) -> Behaviour:
        """Guards a method that answers with a stream; it stays under way until the stream is closed."""

        def guarded(request: object, context: grpc.ServicerContext) -> Iterator[object]:
            with _Watch(self._method, self._activity, context, allowed=self._allowed):
                yield from behaviour(request, context)

        return guarded


class _Watch:
    """The life of one call, from admission to its log line."""

    def __init__(self, method: str, activity: Activity, context: grpc.ServicerContext, *, allowed: bool) -> None:
        self._method = method
        self._activity = activity
        self._context = context
        self._allowed = allowed
        self._started = time.monotonic()

    def __enter__(self) -> None:
        active = self._activity.enter()
        if not self._allowed:
            self._refuse(grpc.StatusCode.UNAUTHENTICATED, "missing or wrong token")
        if active > MAX_ACTIVE_CALLS:
            self._context.set_trailing_metadata((("retry-after-ms", str(RETRY_AFTER_MS)),))
            self._refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the queue is full: try again in {RETRY_AFTER_MS} ms")

    def _refuse(self, code: grpc.StatusCode, message: str) -> None:
        self._finish(code.name)
        self._context.abort(code, message)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or kind is GeneratorExit:
            self._finish("OK" if error is None else "CANCELLED")
            return
        if isinstance(error, XcompError):
            failure = error
        else:  # a defect of ours: the log has it whole, the caller gets no traceback
            log.error("method=%s defect", self._method, exc_info=error)
            failure = XcompError("internal error: the server's log says more")
        self._finish(failure.code.name)
        self._context.set_trailing_metadata((("xcomp-error", type(failure).__name__),))
        self._context.abort(failure.code, " ".join(str(failure).split()))

    def _finish(self, status: str) -> None:
        self._activity.leave()
        latency_ms = (time.monotonic() - self._started) * 1000
        log.info("method=%s status=%s latency_ms=%.1f", self._method, status, latency_ms)


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


def run(services: Sequence[Service], endpoint: Endpoint, *, prepare: Callable[[], None] = lambda: None) -> None:
    """Serves until SIGTERM, SIGINT or the idle time-out, then drains.

    Health says NOT_SERVING until `prepare` has returned.

    Raises:
        Unavailable: the address is taken or cannot be bound.
    """
    activity = Activity()
    server = grpc.server(
        ThreadPoolExecutor(max_workers=MAX_ACTIVE_CALLS + 8, thread_name_prefix="rpc"),
        interceptors=[_Guard(activity, endpoint.token)],
        options=(*OPTIONS, ("grpc.so_reuseport", 0)),
        maximum_concurrent_rpcs=8 * MAX_ACTIVE_CALLS,
    )
    status = health.HealthServicer(experimental_non_blocking=True)
    names = [service.name for service in services]
    for service in services:
        service.register(server)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    _set_health(status, names, health_pb2.HealthCheckResponse.NOT_SERVING)

    address = _bind(server, endpoint.listen)
    stop = threading.Event()
    _stop_on_signals(stop)
    server.start()
    try:
        if endpoint.announce:
            endpoint.announce(address)
        prepare()
        _set_health(status, names, health_pb2.HealthCheckResponse.SERVING)
        log.info("event=serving address=%s", address)
        _wait(stop, activity, endpoint.idle_timeout_s)
    finally:
        status.enter_graceful_shutdown()
        server.stop(DRAIN_S).wait()
        _unlink_socket(endpoint.listen)
        log.info("event=stopped address=%s", address)


def _set_health(status: health.HealthServicer, names: Sequence[str], value: int) -> None:
    for name in ("", *names):
        status.set(name, value)


def _bind(server: grpc.Server, listen: str) -> str:
    if listen.startswith("unix:"):
        _clear_stale_socket(Path(listen.removeprefix("unix:")))
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError:
        port = 0
    if not port:
        raise Unavailable(f"cannot listen on {listen}: the address is taken or not ours; choose another with --listen")
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


def _clear_stale_socket(path: Path) -> None:
    """Removes the socket of a server that died; a living one is left alone."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
        else:
            raise Unavailable(f"cannot listen on unix:{path}: another server answers there")


def _unlink_socket(listen: str) -> None:
    if listen.startswith("unix:"):
        Path(listen.removeprefix("unix:")).unlink(missing_ok=True)


def _stop_on_signals(stop: threading.Event) -> None:
    def handle(number: int, _: FrameType | None) -> None:
        log.info("event=signal name=%s", signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _wait(stop: threading.Event, activity: Activity, idle_timeout_s: float | None) -> None:
    while not stop.wait(timeout=1.0 if idle_timeout_s is not None else None):
        if idle_timeout_s is not None and activity.idle_s() > idle_timeout_s:
            log.info("event=idle seconds=%.0f", activity.idle_s())
            return
