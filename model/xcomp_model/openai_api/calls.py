"""Requests to an endpoint that end when nobody waits for them any more.

The one idea: a request runs in a thread of its own while its caller looks whether it is still wanted; where it is not,
the sockets it opened are shut, which wakes the thread and tells the endpoint. A request therefore opens its own
connection and keeps none. It knows no chat and no answer.
"""

import contextvars
import queue
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, MutableMapping
from contextlib import closing, suppress
from typing import Generic, Protocol, TypeVar, cast

import openai

T = TypeVar("T")
_Told = tuple[T] | BaseException | None  # a piece, what went wrong, or the end

_LOOK_S = 0.1  # how often one who waits asks whether its caller is still there
_AHEAD = 64  # pieces of an answer that wait for a reader
_OPENED = (".connect_tcp.complete", ".start_tls.complete")  # events of httpcore that return a stream of the network


class Request(Protocol):
    """A request of httpx, or of whatever openai has in its place."""

    headers: MutableMapping[str, str]
    extensions: MutableMapping[str, object]


class _Stream(Protocol):
    """A stream of the network, as httpcore has it."""

    def get_extra_info(self, info: str) -> object: ...


class CallerLeft(Exception):
    """Nobody waits for the answer."""


class _OpenCall(Generic[T]):
    """One request, with its retries: the sockets that it opened, and what has come of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.told = queue.Queue[_Told[T]](maxsize=_AHEAD)
        self.is_over = False

    def trace(self, event: str, told: Mapping[str, object]) -> None:
        """Takes what httpcore tells of a request."""
        if not event.endswith(_OPENED):
            return
        opened = cast("_Stream", told["return_value"]).get_extra_info("socket")
        if isinstance(opened, socket.socket):
            with self._lock:
                self._sockets.append(opened)
                if self.is_over:
                    _shut(opened)

    def work(self, request: Callable[[], Iterable[T]]) -> None:
        """Tells what a request yields."""
        try:
            for piece in request():
                self._tell((piece,))
            self._tell(None)
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            self._tell(error)

    def _tell(self, what: _Told[T]) -> None:
        while not self.is_over:
            with suppress(queue.Full):
                self.told.put(what, timeout=_LOOK_S)
                break

    def end(self) -> None:
        """Shuts every connection; later ones will be shut when they open."""
        with self._lock:
            self.is_over = True
            for each in self._sockets:
                _shut(each)


class Calls:
    """The requests of a client."""

    def __init__(self) -> None:
        self._now = threading.local()

    def prepare(self, request: Request) -> None:
        """The client's hook before each request.

        Raises:
            openai.OpenAIError: nobody waits for it; this type is not tried again.
        """
        call: _OpenCall[object] = self._now.call
        if call.is_over:
            raise openai.OpenAIError("nobody waits for the answer")
        request.headers["Connection"] = "close"
        request.extensions["trace"] = call.trace

    def run(self, request: Callable[[], T], *, cancelled: Callable[[], bool]) -> T:
        """Returns what a request returns, and raises what it raises; raises like `stream`."""
        with closing(self.stream(lambda: (request(),), cancelled=cancelled)) as answers:
            return next(answers)

    def stream(self, request: Callable[[], Iterable[T]], *, cancelled: Callable[[], bool]) -> Generator[T]:
        """Yields what a request yields, as it comes, and raises what it raises. Whoever stops early shuts it.

        Raises:
            Left: `cancelled` has become true; the connection is shut.
        """
        call = _OpenCall[T]()

        def work() -> None:
            self._now.call = call
            call.work(request)

        begin = contextvars.copy_context().run  # the request's id and trace go along
        threading.Thread(target=begin, args=(work,), name="endpoint", daemon=True).start()
        try:
            while not cancelled():
                with suppress(queue.Empty):
                    what = call.told.get(timeout=_LOOK_S)
                    if what is None:
                        return
                    if isinstance(what, BaseException):
                        raise what
                    yield what[0]
            raise CallerLeft
        finally:
            call.end()


def _shut(opened: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        opened.shutdown(socket.SHUT_RDWR)
