"""Requests to an endpoint that does not answer: they end soon after their caller leaves, and the endpoint notices."""

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import BinaryIO, cast

import pytest

from tests.images import plain
from tests.openai_server import message
from tests.toy_indexer import PatientCallContext
from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_composer.model_pool.session import LoadedModel, ModelSession
from xcomp_model.base import Control, ImagePart, ModelFailure, Sampling, Section, Text
from xcomp_model.openai_api.model import OpenAIModel
from xcomp_protos.errors import DeadlineExceeded

ASK = (Control("user"), Text("hello"))
SOON_S = 20.0  # far below a time-out, and enough where the machine is busy
_PIECE = json.dumps({"choices": [{"index": 0, "delta": {"content": "Once"}}]})
_BEGINNING = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {_PIECE}\n\n".encode()
RETRY_S = 1.5  # longer than the pause after which the client would try again


class Silent:
    """An endpoint that answers a number of requests and no more; it records when a caller gives up."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.kind = 0  # requests that it still answers
        self.begins = False  # whether the others get the first piece of a stream
        self.asked, self.left = threading.Event(), threading.Event()  # of a request that is not answered
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection, connection.makefile("rb") as lines:
                while _request(lines):
                    if not self.kind:
                        if self.begins:
                            connection.sendall(_BEGINNING)
                        self.asked.set()
                        continue
                    self.kind -= 1
                    _, body = message("A", scores={"A": 0.0})
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                    connection.sendall(head.encode() + body)
            if self.asked.is_set():
                self.left.set()

    def close(self) -> None:
        self._listener.close()


def _request(lines: BinaryIO) -> bool:
    """Reads a request; False if the connection was closed instead."""
    length = 0
    while (line := lines.readline()).strip():
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    return bool(line) and len(lines.read(length)) == length


@pytest.fixture
def silent() -> Iterator[Silent]:
    endpoint = Silent()
    yield endpoint
    endpoint.close()


def choose(model: OpenAIModel, is_cancelled: Callable[[], bool]) -> None:
    with pytest.raises(ModelFailure, match="cancelled"):
        model.choose(ASK, ("A", "B"), is_cancelled=is_cancelled)


def stream(model: OpenAIModel, is_cancelled: Callable[[], bool]) -> None:
    assert list(model.stream(ASK, Sampling(), is_cancelled=is_cancelled)) == []


@pytest.mark.parametrize("ask", [choose, stream])
def test_a_request_ends_when_its_caller_leaves(
    silent: Silent, ask: Callable[[OpenAIModel, Callable[[], bool]], None]
) -> None:
    started = time.monotonic()
    ask(OpenAIModel("m", base_url=silent.url), silent.asked.is_set)
    assert silent.left.wait(SOON_S)
    assert time.monotonic() - started < SOON_S
    time.sleep(RETRY_S)
    assert silent.connections == 1


def test_a_stream_without_new_pieces_ends_when_its_caller_leaves(silent: Silent) -> None:
    silent.begins = True
    taken: list[str] = []
    for piece in OpenAIModel("m", base_url=silent.url, thinks_first=False).stream(
        ASK, Sampling(), is_cancelled=lambda: bool(taken)
    ):
        taken.append(piece)  # noqa: PERF402  # the stream checks it meanwhile
    assert taken == ["Once"]
    assert silent.left.wait(SOON_S)


def test_a_stream_whose_reader_stops_is_closed(silent: Silent) -> None:
    silent.begins = True
    with closing(
        cast("Generator[str]", OpenAIModel("m", base_url=silent.url, thinks_first=False).stream(ASK, Sampling()))
    ) as pieces:
        assert next(pieces) == "Once"
    assert silent.left.wait(SOON_S)


def test_every_request_opens_its_own_connection(silent: Silent) -> None:
    model = OpenAIModel("m", base_url=silent.url)
    silent.kind = 1
    assert model.choose(ASK, ("A", "B")).probabilities == (1.0, 0.0)
    choose(model, silent.asked.is_set)
    assert silent.left.wait(SOON_S)
    assert silent.connections == 2


class HalfSecondCall(PatientCallContext):
    """A caller with half a second from the moment in which the endpoint is asked, however long that takes here."""

    def __init__(self, asked: threading.Event) -> None:
        self._asked = asked
        self._end = math.inf

    def remaining_s(self) -> float:
        if self.is_cancelled():
            raise DeadlineExceeded("the time is over")
        return min(self._end - time.monotonic(), 60.0)

    def is_cancelled(self) -> bool:
        if self._asked.is_set():
            self._end = min(self._end, time.monotonic() + 0.5)
        return time.monotonic() >= self._end


def test_a_deadline_ends_the_choice_and_frees_the_queue(silent: Silent) -> None:
    queue = FairQueue(width=1, waiting=0)
    model = OpenAIModel("m", base_url=silent.url)
    consultation = ModelSession(LoadedModel(model, queue), HalfSecondCall(silent.asked))
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        consultation.choose([Section("text")], [ImagePart("a", plain()), ImagePart("b", plain())])
    assert time.monotonic() - started < 0.5 + SOON_S
    assert silent.left.wait(SOON_S)
    with queue.enter(lambda: 1.0):
        pass
