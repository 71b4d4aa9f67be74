"""Requests to an endpoint that end as soon as their caller no longer waits.

A request runs in its own thread while its caller checks for cancellation. On cancellation the sockets of the request
are shut down, which wakes the thread and informs the endpoint. Each request therefore opens its own connection. This
file does not depend on what is asked.
"""

import contextvars
import queue
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, MutableMapping
from contextlib import closing, suppress
from typing import Generic, Protocol, TypeVar, cast

import openai

from xcomp_model.base import CancelCheck

T = TypeVar("T")
_Result = tuple[T] | BaseException | None  # a piece of the answer, an error, or the end

_CHECK_S = 0.1  # interval between checks for cancellation
_QUEUED_PIECES = 64  # of an answer that wait for the reader
_OPENED = (".connect_tcp.complete", ".start_tls.complete")  # events of httpcore that return a network stream


class Request(Protocol):
    """A request of httpx, or of what openai uses instead of it."""

    headers: MutableMapping[str, str]
    extensions: MutableMapping[str, object]


class _Stream(Protocol):
    """A network stream of httpcore."""

    def get_extra_info(self, info: str) -> object: ...


class CallerLeft(Exception):
    """The caller no longer waits for the answer."""


class _OpenCall(Generic[T]):
    """One request with its retries: the sockets that it opened, and its results."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.results = queue.Queue[_Result[T]](maxsize=_QUEUED_PIECES)
        self.is_closed = False

    def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Records the sockets that httpcore opens for the request."""
        if not event.endswith(_OPENED):
            return
        opened = cast("_Stream", info["return_value"]).get_extra_info("socket")
        if isinstance(opened, socket.socket):
            with self._lock:
                self._sockets.append(opened)
                if self.is_closed:
                    _shut(opened)

    def run(self, request: Callable[[], Iterable[T]]) -> None:
        """Puts what a request yields into the queue."""
        try:
            for piece in request():
                self._put((piece,))
            self._put(None)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread of the caller
            self._put(error)

    def _put(self, result: _Result[T]) -> None:
        while not self.is_closed:
            with suppress(queue.Full):
                self.results.put(result, timeout=_CHECK_S)
                break

    def close(self) -> None:
        """Shuts every connection down; later ones are shut down when they open."""
        with self._lock:
            self.is_closed = True
            for each in self._sockets:
                _shut(each)


class CancellableCalls:
    """Runs the requests of a client."""

    def __init__(self) -> None:
        self._current = threading.local()

    def prepare(self, request: Request) -> None:
        """Traces the connection of a request; the client calls this before it sends one.

        Raises:
            openai.OpenAIError: the caller has left; the client does not retry after this type.
        """
        call: _OpenCall[object] = self._current.call
        if call.is_closed:
            raise openai.OpenAIError("the call was cancelled")
        request.headers["Connection"] = "close"
        request.extensions["trace"] = call.trace

    def run(self, request: Callable[[], T], *, is_cancelled: CancelCheck) -> T:
        """Returns what a request returns, and raises what it raises; raises like `stream`."""
        with closing(self.stream(lambda: (request(),), is_cancelled=is_cancelled)) as answers:
            return next(answers)

    def stream(self, request: Callable[[], Iterable[T]], *, is_cancelled: CancelCheck) -> Generator[T]:
        """Yields what a request yields, and raises what it raises; closing the generator shuts the connection down.

        Raises:
            CallerLeft: `is_cancelled` became true; the connection is shut down.
        """
        call = _OpenCall[T]()

        def work() -> None:
            self._current.call = call
            call.run(request)

        start = contextvars.copy_context().run  # keeps the id and trace of the caller's request
        threading.Thread(target=start, args=(work,), name="endpoint", daemon=True).start()
        try:
            while not is_cancelled():
                with suppress(queue.Empty):
                    result = call.results.get(timeout=_CHECK_S)
                    if result is None:
                        return
                    if isinstance(result, BaseException):
                        raise result
                    yield result[0]
            raise CallerLeft
        finally:
            call.close()


def _shut(opened: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        opened.shutdown(socket.SHUT_RDWR)
