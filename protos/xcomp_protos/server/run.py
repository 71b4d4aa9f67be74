"""Runs a gRPC server: limits, health, reflection, idle time-out, drain on SIGTERM.

Services do not depend on it: they raise `XcompError` and return messages. `interceptor.py` surrounds each call.
"""

import contextlib
import errno
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from xcomp_protos.client.channel import OPTIONS
from xcomp_protos.errors import Unavailable
from xcomp_protos.server.admission import MAX_ACTIVE_CALLS
from xcomp_protos.server.auth import Access
from xcomp_protos.server.connections import StrangerConnections, descriptor_limit, raise_descriptor_limit
from xcomp_protos.server.idle import ActiveCalls
from xcomp_protos.server.interceptor import HEALTH_S, CallInterceptor
from xcomp_protos.server.lanes import Watchers
from xcomp_protos.server.timeouts import call_timeouts
from xcomp_protos.tls import SCHEME, ServerTls

log = logging.getLogger(__name__)

Prepare = Callable[[threading.Event], None]  # receives the event that tells it to stop

DRAIN_S = 25  # compose kills after 30
LEAVE_S = 3  # after the drain, for all that closes behind it; then the process ends whatever hangs
KEEPALIVE_S = 60.0  # a connection that is silent for this long gets a ping, and is closed without an answer
HANDSHAKE_S = 20.0  # for a caller to complete the handshake of HTTP/2 or TLS
UNUSED_S = 300.0  # a connection without a call is closed
AGE_S = 3600.0  # then clients reconnect, so that load spreads over replicas and certificates are checked again
SPARE_THREADS = 8  # beyond those of active calls: for calls that are refused because the queue is full


@dataclass(frozen=True)
class ServiceSpec:
    """A gRPC service and how it is added to a server."""

    name: str  # full name, xcomp.v1.Indexer
    register: Callable[[grpc.Server], None]


@dataclass(frozen=True)
class ServerEndpoint:
    """Where a server listens, for whom, and for how long."""

    listen: str  # host:port, port 0 for any, or unix:/path
    access: Access | None = None  # every call must carry one of its tokens; None: no call needs one
    tls: ServerTls | None = None
    idle_timeout_s: float | None = None  # the server ends after this time without a call; None: never
    announce: Callable[[str], None] | None = None  # called with the bound address once the server takes calls


@dataclass(frozen=True)
class RunningServer:
    """A server that takes calls."""

    address: str
    activity: ActiveCalls
    health: health.HealthServicer
    names: tuple[str, ...]  # of its services
    watchers: Watchers

    def set_health(self, value: int) -> None:
        """Sets the health of the server and of its services."""
        with call_timeouts.limit(HEALTH_S, self.watchers.close):  # one that takes no message must not hold it up
            for name in ("", *self.names):
                self.health.set(name, value)

    def stop_health(self) -> None:
        """Sets the health to NOT_SERVING for good."""
        with call_timeouts.limit(HEALTH_S, self.watchers.close):
            self.health.enter_graceful_shutdown()


def serve(services: Sequence[ServiceSpec], endpoint: ServerEndpoint, *, prepare: Prepare = lambda _: None) -> None:
    """Serves until SIGTERM, SIGINT or the idle time-out, then drains. Call it from the main thread.

    Health is NOT_SERVING until `prepare` has returned.

    Raises:
        Unavailable: the address is taken or cannot be bound.
    """
    stop = threading.Event()
    _stop_on_signals(stop)
    raise_descriptor_limit()
    with start_server(services, endpoint) as running:
        prepare(stop)
        if not stop.is_set():
            running.set_health(health_pb2.HealthCheckResponse.SERVING)
            log.info("event=serving address=%s", running.address)
        _wait(stop, running.activity, endpoint.idle_timeout_s)
        end_process_after(DRAIN_S + LEAVE_S)
    log.info("event=stopped address=%s", running.address)


def end_process_after(seconds: float) -> None:
    """Ends this process after the time given, even if a thread hangs, such as one that reads a lost network drive."""

    def end() -> None:
        log.error("event=hung seconds=%.0f: something does not end; the process ends now", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True  # a process that ends in time does not wait for it
    timer.start()


@contextlib.contextmanager
def start_server(services: Sequence[ServiceSpec], endpoint: ServerEndpoint) -> Iterator[RunningServer]:
    """Serves while the body runs, with health NOT_SERVING at first; then lets active calls end.

    Raises:
        Unavailable: the address is taken or cannot be bound.
    """
    activity = ActiveCalls()
    peers = _Peers()
    interceptor = CallInterceptor(activity, endpoint.access, peers.admit)
    server = grpc.server(
        ThreadPoolExecutor(max_workers=MAX_ACTIVE_CALLS + SPARE_THREADS, thread_name_prefix="rpc"),
        interceptors=[interceptor],
        options=(*OPTIONS, *_options(), ("grpc.so_reuseport", 0)),
        maximum_concurrent_rpcs=8 * MAX_ACTIVE_CALLS,
    )
    for service in services:
        service.register(server)
    names = tuple(service.name for service in services)
    status = health.HealthServicer(experimental_non_blocking=True)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)

    running = RunningServer(_bind(server, endpoint), activity, status, names, interceptor.watchers)
    bound = _socket_id(endpoint.listen)
    running.set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
    server.start()
    peers.watch(running.address)
    try:
        if endpoint.announce:
            endpoint.announce(running.address)
        yield running
    finally:
        running.stop_health()
        server.stop(DRAIN_S).wait()
        peers.close()
        interceptor.close()
        _unlink_socket(endpoint.listen, bound)


class _Peers:
    """Watches the connections of a server once its port is known; a unix socket has none to watch."""

    def __init__(self) -> None:
        self._connections: StrangerConnections | None = None

    def admit(self, peer: str) -> None:
        """Notes that a call of this peer was admitted."""
        if self._connections:
            self._connections.admit(peer)

    def watch(self, address: str) -> None:
        """Begins with the port of a bound address."""
        if not address.startswith("unix:"):
            self._connections = StrangerConnections(int(address.rpartition(":")[2]))
            self._connections.start()

    def close(self) -> None:
        """Ends the watch."""
        if self._connections:
            self._connections.stop()


def _options() -> tuple[tuple[str, int], ...]:
    """Returns the options that end unused and broken connections."""
    return (
        ("grpc.keepalive_time_ms", round(KEEPALIVE_S * 1000)),
        ("grpc.keepalive_timeout_ms", round(KEEPALIVE_S * 1000 / 3)),
        ("grpc.http2.ping_timeout_ms", round(KEEPALIVE_S * 1000 / 3)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # of pings by clients
        ("grpc.server_handshake_timeout_ms", round(HANDSHAKE_S * 1000)),
        ("grpc.http2.settings_timeout", round(HANDSHAKE_S * 1000)),
        ("grpc.max_allowed_incoming_connections", max(8, descriptor_limit() // 2)),
        ("grpc.max_connection_idle_ms", round(UNUSED_S * 1000)),
        ("grpc.max_connection_age_ms", round(AGE_S * 1000)),  # active calls may end, however long they take
    )


def _bind(server: grpc.Server, endpoint: ServerEndpoint) -> str:
    listen = endpoint.listen
    if listen.startswith("unix:"):
        _clear_stale_socket(Path(listen.removeprefix("unix:")))
    else:
        _check_port(listen)
    try:
        if endpoint.tls:
            port = server.add_secure_port(listen, endpoint.tls.credentials())
        else:
            port = server.add_insecure_port(listen)
    except RuntimeError:
        port = 0
    if not port:
        raise Unavailable(
            f"cannot listen on {listen}: it is not an address of this machine: choose another with --listen"
        )
    if listen.startswith("unix:"):
        return listen
    return f"{SCHEME if endpoint.tls else ''}{listen.rpartition(':')[0]}:{port}"


def _check_port(listen: str) -> None:
    """Raises `Unavailable` where a port is taken or forbidden; gRPC itself would only print the reason."""
    host, _, port = listen.rpartition(":")
    try:
        addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # gRPC accepts more forms of names
        return
    for family, kind, _, _, address in addresses:
        try:
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
                probe.bind(address)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                fact = f"cannot listen on {listen}: {error.strerror}"
                raise Unavailable(f"{fact}: choose another address with --listen") from None


def _clear_stale_socket(path: Path) -> None:
    """Removes the socket of a dead server, but not that of a living one."""
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


def _socket_id(listen: str) -> tuple[int, int] | None:
    """Returns what tells a socket file from another of the same name."""
    if not listen.startswith("unix:"):
        return None
    try:
        status = Path(listen.removeprefix("unix:")).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _unlink_socket(listen: str, bound: tuple[int, int] | None) -> None:
    """Removes our socket; another server may have replaced it while this one drained."""
    if bound and _socket_id(listen) == bound:
        Path(listen.removeprefix("unix:")).unlink(missing_ok=True)


def _stop_on_signals(stop: threading.Event) -> None:
    def handle(_: int, __: FrameType | None) -> None:
        stop.set()  # nothing else: a handler may interrupt the log within a line

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _wait(stop: threading.Event, activity: ActiveCalls, idle_timeout_s: float | None) -> None:
    while not stop.wait(timeout=min(1.0, idle_timeout_s) if idle_timeout_s is not None else None):
        if idle_timeout_s is not None and activity.idle_s() > idle_timeout_s:
            log.info("event=idle seconds=%.0f", activity.idle_s())
            return
    log.info("event=signal")
