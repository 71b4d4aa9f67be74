"""What is the same for every server and client: errors, limits, tokens, health."""

import logging
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.scripted import calling, raising, running, scripted_service, wait_until
from xcomp_protos import errors
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client import IndexerClient
from xcomp_protos.client.channel import MAX_MESSAGE_BYTES
from xcomp_protos.errors import XcompError
from xcomp_protos.server import admission
from xcomp_protos.server.idle import ActiveCalls

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, XcompError)]


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_raise_the_same_class(kind: type[XcompError]) -> None:
    service = scripted_service()
    service.describe = raising(kind("the fact: and the way out"))
    with running(service) as server, IndexerClient(server.address) as client:
        with pytest.raises(kind, match=r"^the fact: and the way out$") as unary:
            client.describe()
        with pytest.raises(kind, match=r"^the fact: and the way out$") as streamed:
            list(client.ingest(pb.IngestRequest()))
    assert type(unary.value) is type(streamed.value) is kind


def test_the_field_of_a_bad_request_travels_beside_its_message() -> None:
    service = scripted_service()
    service.describe = raising(errors.InvalidRequest("send 1 to 8 of them, not 9", field="inputs"))
    with calling(service) as client, pytest.raises(errors.InvalidRequest) as caught:
        client.describe()
    assert (caught.value.field, caught.value.problem) == ("inputs", "send 1 to 8 of them, not 9")
    assert str(caught.value) == "inputs: send 1 to 8 of them, not 9"


def test_a_message_over_the_limit_has_its_own_class_and_is_not_repeated() -> None:
    service, begun = scripted_service(), []
    service.begin = lambda: begun.append(1)
    service.event = pb.IngestEvent(failure=pb.IngestFailure(message="x" * MAX_MESSAGE_BYTES))
    with calling(service) as client:
        with pytest.raises(errors.TooLarge, match="ask for less at once"):
            list(client.ingest(pb.IngestRequest()))
        with pytest.raises(errors.TooLarge):
            client.describe("x" * MAX_MESSAGE_BYTES)  # gRPC itself refuses to send it
    assert len(begun) == 1


def test_a_defect_is_internal_and_only_the_log_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    service = scripted_service()
    service.describe = raising(ZeroDivisionError("secret detail"))
    with calling(service) as client, pytest.raises(XcompError, match=r"^internal error: the server's log says more$"):
        client.describe()
    assert "secret detail" in caplog.text


def test_an_error_of_the_user_is_one_line_in_the_log_without_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    service = scripted_service()
    service.describe = raising(errors.NotFound("there is no 'my private thing'"))
    with running(service) as server, IndexerClient(server.address) as client, pytest.raises(errors.NotFound):
        client.describe()
    lines = [record.getMessage() for record in caplog.records if "Describe" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("method=Describe status=NOT_FOUND latency_ms=")
    assert "private" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("message", ["x" * 200_000, "港" * 50_000, "a\nb\r\n\x1b[2Jc\x00d\ud800e\u202ef", ""])
def test_any_message_arrives_on_one_bounded_printable_line(message: str) -> None:
    service = scripted_service()
    service.describe = raising(errors.InvalidRequest(message))
    with calling(service) as client, pytest.raises(errors.InvalidRequest) as caught:
        client.describe()
    assert len(str(caught.value)) <= errors.MAX_MESSAGE_CHARACTERS
    assert str(caught.value).isprintable()


def test_a_missing_method_is_unimplemented() -> None:
    with calling(scripted_service()) as client, pytest.raises(errors.Unsupported, match="Delete is not available"):
        client.delete(pb.DeleteRequest())


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer ", "Bearer wrong", "right", "Bearer right more"])
def test_a_missing_or_wrong_token_is_unauthenticated(given: str | None) -> None:
    with running(scripted_service(), token="right") as server:
        metadata = None if given is None else (("authorization", given),)
        with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
            rpc.IndexerStub(channel).Describe(pb.DescribeRequest(), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_right_token_opens_calls_and_streams() -> None:
    with running(scripted_service(), token="right") as server, IndexerClient(server.address, token="right") as client:
        assert client.describe().version == "1"
        assert len(list(client.ingest(pb.IngestRequest()))) == 3


def test_health_needs_no_token() -> None:
    with running(scripted_service(), token="right") as server, IndexerClient(server.address) as client:
        assert not client.healthy()
        server.set_health(health_pb2.HealthCheckResponse.SERVING)
        assert client.healthy()


def test_a_full_queue_says_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_ACTIVE_CALLS", 2)
    service, release, inside = scripted_service(), threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        inside.release()
        release.wait(60)

    service.describe = wait
    with running(service) as server, grpc.insecure_channel(server.address) as channel:
        stub = rpc.IndexerStub(channel)
        pending = [stub.Describe.future(pb.DescribeRequest()) for _ in range(2)]
        assert inside.acquire(timeout=60)
        assert inside.acquire(timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Describe(pb.DescribeRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "try again in 1000 ms" in str(caught.value.details())
        hints = {each.key: str(each.value) for each in caught.value.trailing_metadata() or ()}
        assert hints["retry-after-ms"] == "1000"
        release.set()
        assert [each.result().version for each in pending] == ["1", "1"]
        assert stub.Describe(pb.DescribeRequest()).version == "1"


def test_a_deadline_ends_the_call() -> None:
    service = scripted_service()
    service.describe = lambda: time.sleep(0.5)
    with calling(service, timeout_s=0.1) as client, pytest.raises(errors.DeadlineExceeded):
        client.describe()


def test_a_method_can_read_the_remaining_time() -> None:
    with running(scripted_service()) as server, IndexerClient(server.address, timeout_s=30) as client:
        assert 20 < client.search(pb.SearchRequest()).seconds < 31  # gRPC rounds what is left up on its way


def test_closing_a_stream_ends_the_work_behind_it() -> None:
    service = scripted_service()
    service.events = 100_000
    with running(service) as server, IndexerClient(server.address) as client:
        stream = client.ingest(pb.IngestRequest())
        next(stream)
        stream.close()  # type: ignore[attr-defined]  # it is a generator
        assert service.closed.wait(60)
        wait_until(lambda: server.activity.idle_s() > 0)


def test_idle_time_counts_from_the_last_call() -> None:
    activity = ActiveCalls()
    assert activity.enter() == 1
    assert activity.enter() == 2
    activity.leave()
    assert activity.idle_s() == 0
    activity.leave()
    time.sleep(0.01)
    assert activity.idle_s() >= 0.01
