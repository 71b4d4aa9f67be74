"""Callers without a token take nothing that serves other callers: no call, no thread, no connection, no log."""

import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.scripted import running, scripted_service, wait_until
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Unauthenticated
from xcomp_protos.server import connections, interceptor, lanes
from xcomp_protos.server.connections import StrangerConnections
from xcomp_protos.telemetry.logs import LineLimit

TOKEN = "a-token-of-the-tests"  # opens a server of the test alone
CHECK = "/grpc.health.v1.Health/Check"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
DESCRIBE = "/xcomp.v1.Indexer/Describe"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4\0" + bytes(4)


def silence(stop: threading.Event) -> Iterator[bytes]:
    stop.wait(30)
    yield from ()


def now_and_then(stop: threading.Event, pause_s: float) -> Iterator[bytes]:
    """Asks for the list of services again and again; never ends the request."""
    while not stop.wait(pause_s):
        yield b"\x3a\x00"  # list_services


@pytest.mark.parametrize("method", [CHECK, "/grpc.health.v1.Health/Watch", REFLECT, DESCRIBE])
def test_silent_strangers_hold_up_no_caller(method: str) -> None:
    stop = threading.Event()
    with running(scripted_service(), token=TOKEN) as server, ExitStack() as stack:
        for _ in range(4):
            channel = stack.enter_context(grpc.insecure_channel(server.address))
            for _ in range(50):
                channel.stream_stream(method, bytes, bytes)(silence(stop))
        with IndexerClient(server.address, token=TOKEN, timeout_s=20) as client:
            begun = time.monotonic()
            assert [client.describe().version for _ in range(5)] == ["1"] * 5
            assert time.monotonic() - begun < 10
        stop.set()


def test_an_honest_health_check_is_answered_among_silent_ones() -> None:
    stop = threading.Event()
    with running(scripted_service(), token=TOKEN) as server, grpc.insecure_channel(server.address) as channel:
        server.set_health(health_pb2.HealthCheckResponse.SERVING)
        for _ in range(40):
            channel.stream_stream(CHECK, bytes, bytes)(silence(stop))
        with grpc.insecure_channel(server.address) as other:
            answer = health_pb2_grpc.HealthStub(other).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stop.set()


def test_reflection_needs_a_token_of_any_role() -> None:
    with running(scripted_service(), token=TOKEN) as server, grpc.insecure_channel(server.address) as channel:
        reflect = channel.stream_stream(REFLECT, bytes, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            next(iter(reflect(iter([b"\x3a\x00"]), timeout=20)))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        assert b"xcomp.v1.Indexer" in next(iter(reflect(iter([b"\x3a\x00"]), timeout=20, metadata=metadata)))


def test_messages_do_not_prolong_the_time_of_reflection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptor, "REFLECTION_S", 0.5)
    stop = threading.Event()
    with running(scripted_service()) as server, grpc.insecure_channel(server.address) as channel:
        begun = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.stream_stream(REFLECT, bytes, bytes)(now_and_then(stop, 0.1), timeout=30))
        stop.set()
        assert caught.value.code() is grpc.StatusCode.CANCELLED
        assert time.monotonic() - begun < 20


def test_too_many_watchers_of_health_end_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_WATCHERS", 3)
    with running(scripted_service(), token=TOKEN) as server, grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        streams = []
        for _ in range(4):
            streams.append(watch(health_pb2.HealthCheckRequest()))
            next(iter(streams[-1]))
        with pytest.raises(grpc.RpcError):
            next(iter(streams[0]))
        server.set_health(health_pb2.HealthCheckResponse.SERVING)
        assert next(iter(streams[-1])).status == health_pb2.HealthCheckResponse.SERVING


def test_refusals_of_strangers_write_a_bounded_number_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(scripted_service(), token=TOKEN) as server, grpc.insecure_channel(server.address) as channel:
        for _ in range(100):
            with pytest.raises(grpc.RpcError):
                rpc.IndexerStub(channel).Describe(pb.DescribeRequest())
        with IndexerClient(server.address, token=TOKEN) as client:
            for _ in range(30):
                client.describe()
    lines = [record.getMessage() for record in caplog.records]
    assert sum("UNAUTHENTICATED" in line for line in lines) <= 40  # two periods may meet
    assert sum("status=OK" in line for line in lines) == 30


def test_a_line_limit_counts_what_it_omits(caplog: pytest.LogCaptureFixture) -> None:
    limit = LineLimit(logging.getLogger("test"), "knocks", lines=2, period_s=0.2)
    assert [limit.admit() for _ in range(5)] == [True, True, False, False, False]
    time.sleep(0.25)
    assert limit.admit()
    assert "event=lines_omitted count=3 about='knocks'" in caplog.text


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.sendall(PREFACE)
    return made


def is_open(connection: socket.socket) -> bool:
    connection.settimeout(0.02)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


@pytest.mark.skipif(not sys.platform.startswith(("linux", "darwin")), reason="needs a list of descriptors")
def test_the_oldest_connections_of_strangers_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SWEEP_S", 0.05)
    monkeypatch.setattr(connections, "_MOST_STRANGERS", 5)
    with running(scripted_service(), token=TOKEN) as server, IndexerClient(server.address, token=TOKEN) as client:
        assert client.describe().version == "1"
        port = int(server.address.rpartition(":")[2])
        with ExitStack() as stack:
            strangers = [stack.enter_context(connect(port)) for _ in range(20)]
            wait_until(lambda: sum(map(is_open, strangers)) <= 5)
            assert client.describe().version == "1"
            with IndexerClient(server.address) as unknown, pytest.raises(Unauthenticated):
                unknown.describe()
            with IndexerClient(server.address, token=TOKEN) as other:
                assert other.describe().version == "1"


@pytest.mark.skipif(not sys.platform.startswith(("linux", "darwin")), reason="needs a list of descriptors")
def test_connections_of_callers_and_of_other_ports_are_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine, socket.create_server(("127.0.0.1", 0)) as other:
        ports = mine.getsockname()[1], other.getsockname()[1]
        guard = StrangerConnections(ports[0], most=1)
        pairs = [(connect(port), server.accept()[0]) for port, server in zip(ports, (mine, other), strict=True)]
        pairs += [(connect(ports[0]), mine.accept()[0]) for _ in range(2)]
        host, port = pairs[0][0].getsockname()
        guard.admit(f"ipv4:{host}:{port}")
        assert guard.sweep() == 1
        assert [is_open(client) for client, _ in pairs] == [True, True, False, True]
        for client, accepted in pairs:
            client.close()
            accepted.close()
