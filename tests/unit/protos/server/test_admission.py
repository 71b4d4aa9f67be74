"""The log line and the metadata of each call, and how long a caller may hold a thread."""

import json
import logging
import threading
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.scripted import raising, running, scripted_service, wait_until
from xcomp_protos import errors
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.server import admission, interceptor
from xcomp_protos.server.run import RunningServer
from xcomp_protos.server.timeouts import CallTimeouts
from xcomp_protos.telemetry import api, logs

DESCRIBE = "/xcomp.v1.Indexer/Describe"
INGEST = "/xcomp.v1.Indexer/Ingest"


def describe_once(server: RunningServer, **metadata: str) -> dict[str, str]:
    """Calls once; returns the trailing metadata."""
    with grpc.insecure_channel(server.address) as channel:
        pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        _, call = rpc.IndexerStub(channel).Describe.with_call(pb.DescribeRequest(), metadata=pairs)
        return {key: str(value) for key, value in call.trailing_metadata()}


def test_a_sane_request_id_is_kept_in_log_and_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(scripted_service()) as server:
        assert describe_once(server, x_request_id="order-66.a_b")["x-request-id"] == "order-66.a_b"
    assert "request=order-66.a_b" in caplog.text


@pytest.mark.parametrize("given", ["", "two words", "a=b", "x" * 65, "-flag", "line%0a"])
def test_any_other_request_id_is_replaced(given: str) -> None:
    with running(scripted_service()) as server:
        made = describe_once(server, x_request_id=given)["x-request-id"]
    assert made != given
    assert api.to_request_id(made) == made


def test_failures_carry_their_request_id_too() -> None:
    service = scripted_service()
    service.describe = raising(errors.NotFound("nothing there"))
    with running(service) as server, grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            rpc.IndexerStub(channel).Describe(pb.DescribeRequest(), metadata=(("x-request-id", "mine"),))
        trailing = {entry.key: str(entry.value) for entry in caught.value.trailing_metadata() or ()}
    assert trailing == {"x-request-id": "mine", "xcomp-error": "NotFound"}


def test_a_line_of_key_value_words_becomes_a_json_object() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "method=%s status=%s", ("Search", "OK"), None)
    line = json.loads(logs.JsonFormatter().format(record))
    assert (line["method"], line["status"], line["level"]) == ("Search", "OK", "INFO")
    assert "message" not in line
    record = logging.LogRecord("x", logging.WARNING, "", 0, "plain words\nx=1", (), None)
    assert json.loads(logs.JsonFormatter().format(record))["message"] == "plain words\nx=1"


def test_an_unreadable_request_is_an_invalid_argument(caplog: pytest.LogCaptureFixture) -> None:
    with running(scripted_service()) as server, grpc.insecure_channel(server.address) as channel:
        for method in (DESCRIBE, "/xcomp.v1.Indexer/Search"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.stream_unary(method, bytes, bytes)(iter([b"\xff\xff\xff"]))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in caplog.text


def silence(stop: threading.Event) -> Iterator[bytes]:
    """Announces a request and never sends it."""
    stop.wait(20)
    yield from ()


@pytest.mark.parametrize("method", [DESCRIBE, INGEST, "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"])
def test_a_caller_that_sends_no_request_holds_no_thread(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptor, "SILENT_S", 0.3)
    stop = threading.Event()
    with running(scripted_service()) as server, grpc.insecure_channel(server.address) as channel:
        # more than there are threads
        calls = [channel.stream_stream(method, bytes, bytes)(silence(stop)) for _ in range(80)]
        for call in calls:
            with pytest.raises(grpc.RpcError):
                next(iter(call))
        assert describe_once(server)
        stop.set()


def test_a_caller_that_takes_no_answer_holds_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptor, "DEAF_S", 0.3)
    service = scripted_service()
    service.events = 10**9
    service.event = pb.IngestEvent(failure=pb.IngestFailure(message="x" * 100_000))
    service.pause_s = 0
    with running(service) as server, grpc.insecure_channel(server.address) as channel:
        deaf = rpc.IndexerStub(channel).Ingest(pb.IngestRequest())
        next(iter(deaf))  # and takes no further message
        assert service.closed.wait(60)
        wait_until(lambda: server.activity.idle_s() > 0)


def test_health_answers_while_the_queue_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_ACTIVE_CALLS", 0)
    with running(scripted_service()) as server, grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            rpc.IndexerStub(channel).Describe(pb.DescribeRequest())
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        server.set_health(health_pb2.HealthCheckResponse.SERVING)
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        assert next(iter(stub.Watch(health_pb2.HealthCheckRequest()))).status == health_pb2.HealthCheckResponse.SERVING


def test_a_time_limit_ends_only_what_takes_too_long() -> None:
    timeouts, ended = CallTimeouts(), threading.Event()
    with timeouts.limit(30, ended.set), timeouts.limit(0.01, threading.Event().set):
        pass
    assert not ended.is_set()
    with timeouts.limit(0.05, ended.set):
        assert ended.wait(60)
