"""Streams that do not wait for their reader: a thread produces the messages, and the reader takes them at its own pace.

A slow reader holds only the messages in memory: the work, and its turn at a model, ends when all are produced.
"""

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_S = 0.2  # how often a reader that waits for a message checks whether its call was cancelled


@dataclass(frozen=True)
class _Message(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def stream_in_thread(start: Callable[[], Generator[T]], *, is_cancelled: Callable[[], bool]) -> Iterator[T]:
    """Yields what a generator produces in a thread of its own, and raises what it raises.

    Args:
        start: returns the generator. It starts when the first message is asked for, and is closed after the message
            during which the reader stopped.
        is_cancelled: whether the call of the reader was cancelled.
    """
    messages: queue.SimpleQueue[_Message[T] | _End] = queue.SimpleQueue()  # unbounded: one article at most
    has_stopped = threading.Event()

    def produce() -> None:
        try:
            with closing(start()) as values:
                for value in values:
                    if has_stopped.is_set():
                        break
                    messages.put(_Message(value))
            messages.put(_End())
        except BaseException as error:  # noqa: BLE001  # raised again where it is read
            messages.put(_End(error))

    run = contextvars.copy_context().run  # keeps the id and the trace of the request
    threading.Thread(target=run, args=(produce,), name="stream_in_thread", daemon=True).start()
    try:
        yield from _read(messages, is_cancelled)
    finally:
        has_stopped.set()


def _read(messages: "queue.SimpleQueue[_Message[T] | _End]", is_cancelled: Callable[[], bool]) -> Iterator[T]:
    while not is_cancelled():
        try:
            message = messages.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if isinstance(message, _Message):
            yield message.value
            continue
        if message.error is not None:
            raise message.error
        return
