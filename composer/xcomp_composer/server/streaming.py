"""Work that does not wait for its reader: a stream is made at its own pace and handed out at the reader's.

A client that reads slowly holds nothing but the messages made for it: turns at a model are over when the work is.
"""

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK_S = 0.2  # how often one who waits for the next message asks whether the reader is still there


@dataclass(frozen=True)
class _Made(Generic[T]):
    value: T


@dataclass(frozen=True)
class _Ended:
    error: BaseException | None = None


def stream_in_thread(make: Callable[[], Generator[T]], *, is_cancelled: Callable[[], bool]) -> Iterator[T]:
    """Yields what a generator makes in a thread of its own, and raises what it raises.

    Args:
        make: returns the generator; it begins with the first message that is asked for, and ends early once nobody
            reads.
        is_cancelled: whether the reader has left.
    """
    made: queue.SimpleQueue[_Made[T] | _Ended] = queue.SimpleQueue()  # as long as the stream: one article
    left = threading.Event()

    def work() -> None:
        try:
            with closing(make()) as messages:
                for message in messages:
                    if left.is_set():
                        break
                    made.put(_Made(message))
            made.put(_Ended())
        except BaseException as error:  # noqa: BLE001  # raised again where it is read
            made.put(_Ended(error))

    begin = contextvars.copy_context().run  # the request's id and trace go along
    threading.Thread(target=begin, args=(work,), name="stream_in_thread", daemon=True).start()
    try:
        yield from _read(made, is_cancelled)
    finally:
        left.set()


def _read(made: "queue.SimpleQueue[_Made[T] | _Ended]", is_cancelled: Callable[[], bool]) -> Iterator[T]:
    while not is_cancelled():
        try:
            item = made.get(timeout=_LOOK_S)
        except queue.Empty:
            continue
        if isinstance(item, _Made):
            yield item.value
            continue
        if item.error is not None:
            raise item.error
        return
