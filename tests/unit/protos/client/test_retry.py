"""Which calls the typed client repeats, and which it does not."""

import socket
import threading
import time
from collections.abc import Callable

import pytest

from tests.scripted import Scripted, running, scripted_service, wait_until
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.client.retry import Retry
from xcomp_protos.errors import Conflict, Exhausted, Unavailable, XcompError
from xcomp_protos.server import run as transport_server

QUICK = Retry(first_s=0.01)


class Failing:
    """Raises each of the errors once, then succeeds; counts its calls."""

    def __init__(self, *errors: XcompError) -> None:
        self.errors = list(errors)
        self.times = 0

    def __call__(self) -> None:
        self.times += 1
        if self.errors:
            raise self.errors.pop(0)


def call_with_retry(service: Scripted, act: Callable[[IndexerClient], object]) -> object:
    with running(service) as server, IndexerClient(server.address, retry=QUICK) as client:
        return act(client)


def test_a_call_that_reads_is_repeated_while_the_service_is_away_or_full() -> None:
    service = scripted_service()
    service.describe = failing = Failing(Unavailable("away"), Exhausted("full", retry_after_s=0.01))
    call_with_retry(service, IndexerClient.describe)
    assert failing.times == 3


@pytest.mark.parametrize("error", [Exhausted("too large"), Conflict("held")])
def test_an_error_that_lasts_is_not_repeated(error: XcompError) -> None:
    service = scripted_service()
    service.describe = failing = Failing(error)
    with pytest.raises(type(error)):
        call_with_retry(service, IndexerClient.describe)
    assert failing.times == 1


def test_the_pause_that_a_server_asks_for_is_kept() -> None:
    service = scripted_service()
    service.describe = Failing(Exhausted("full", retry_after_s=0.3))
    begun = time.monotonic()
    call_with_retry(service, IndexerClient.describe)
    assert time.monotonic() - begun >= 0.3


def test_attempts_end() -> None:
    service = scripted_service()
    service.describe = failing = Failing(*[Unavailable("away")] * 9)
    with pytest.raises(Unavailable):
        call_with_retry(service, IndexerClient.describe)
    assert failing.times == QUICK.attempts


def test_no_attempt_outlasts_the_deadline() -> None:
    service = scripted_service()
    service.describe = failing = Failing(*[Exhausted("full", retry_after_s=60.0)] * 9)
    with running(service) as server, IndexerClient(server.address, timeout_s=20) as client, pytest.raises(Exhausted):
        client.describe()
    assert failing.times == 1


def test_a_request_of_almost_a_whole_message_is_repeated_too() -> None:
    service = scripted_service()
    service.describe = failing = Failing(Unavailable("away"))
    call_with_retry(service, lambda client: client.describe("x" * 3_000_000))
    assert failing.times == 2


def test_a_call_that_changes_something_is_made_once() -> None:
    service = scripted_service()
    service.delete = failing = Failing(Unavailable("away"))
    with pytest.raises(Unavailable):
        call_with_retry(service, lambda client: client.delete(pb.DeleteRequest()))
    assert failing.times == 1


def test_a_stream_is_repeated_until_its_first_message() -> None:
    service = scripted_service()
    service.begin = begin = Failing(Unavailable("away"))
    assert len(call_with_retry(service, lambda client: list(client.ingest(pb.IngestRequest())))) == 3  # type: ignore[arg-type]
    assert begin.times == 2


def test_a_stream_is_not_repeated_after_its_first_message() -> None:
    service = scripted_service()
    service.describe = end = Failing(Unavailable("away"))
    with pytest.raises(Unavailable):
        call_with_retry(service, lambda client: list(client.ingest(pb.IngestRequest())))
    assert end.times == 1


def test_an_empty_stream_is_empty() -> None:
    service = scripted_service()
    service.events = 0
    assert call_with_retry(service, lambda client: list(client.ingest(pb.IngestRequest()))) == []


def test_a_client_finds_a_server_that_came_back() -> None:
    with running(scripted_service()) as server:
        client = IndexerClient(server.address, retry=Retry(attempts=8))
        assert client.describe().version == "1"
    with pytest.raises(Unavailable):
        IndexerClient(server.address, retry=Retry(attempts=1)).describe()
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(client.describe().version))
    waiting.start()
    with running(scripted_service(), listen=server.address), client:
        waiting.join(20)
        assert answers == ["1"]


def test_half_open_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_server, "HANDSHAKE_S", 0.5)
    monkeypatch.setattr(transport_server, "KEEPALIVE_S", 1.0)
    settings, taken = bytes(3) + b"\4\0" + bytes(4), bytes(3) + b"\4\1" + bytes(4)  # frames
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings
    with running(scripted_service()) as server:
        host, _, port = server.address.rpartition(":")
        for first in (b"", b"PRI * HT", preface, preface + taken):
            with socket.create_connection((host, int(port)), timeout=20) as half_open:
                half_open.sendall(first)
                while half_open.recv(4096):  # raises where the server keeps it
                    pass
    wait_until(lambda: server.activity.idle_s() >= 0)
