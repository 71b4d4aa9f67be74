"""Calls that anybody may make: health, reflection, and refusals of calls without a token.

They have few threads of their own and little time, so that strangers take nothing that serves calls.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc

from xcomp_protos.server.timeouts import call_timeouts

MAX_WATCHERS = 64  # streams of Health/Watch: one more ends the oldest


class SmallLane:
    """A few threads, with a bound on the calls that wait for one.

    Args:
        name: of the threads.
        seconds: that one call may hold a thread while no other call waits.
        hurried_s: the same while another call waits.
        threads: their number.
        waiting: calls that may wait for a thread.
    """

    def __init__(self, name: str, *, seconds: float, hurried_s: float, threads: int = 4, waiting: int = 64) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._seconds = seconds
        self._hurried_s = hurried_s
        self._most = waiting
        self._lock = threading.Lock()
        self._waiting = 0

    def enqueue(self) -> bool:
        """Counts a call that will wait for a thread; returns False, and counts nothing, if too many do."""
        with self._lock:
            if self._waiting >= self._most:
                return False
            self._waiting += 1
            return True

    @contextmanager
    def occupy(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Holds a thread while the body runs; cancels the call that takes too long, however often it sends."""
        with self._lock:
            self._waiting -= 1
            seconds = self._hurried_s if self._waiting else self._seconds
        with call_timeouts.limit(seconds, context.cancel):
            yield

    def close(self) -> None:
        """Ends the threads once their calls have ended."""
        self.pool.shutdown(wait=False)


class Watchers:
    """The open streams of Health/Watch, which hold no thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, grpc.ServicerContext] = {}  # the oldest first

    def add(self, context: grpc.ServicerContext) -> None:
        """Keeps a stream; ends the oldest one if there are too many."""
        with self._lock:
            self._open[id(context)] = context
            oldest = next(iter(self._open.values())) if len(self._open) > MAX_WATCHERS else None
        if not context.add_callback(lambda: self._remove(context)):
            self._remove(context)
        if oldest:
            self._remove(oldest)
            oldest.cancel()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Ends all of them."""
        for context in list(self._open.values()):
            context.cancel()  # type: ignore[no-untyped-call]

    def _remove(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            self._open.pop(id(context), None)


class WatcherContext:
    """The context of a stream of Health/Watch, as the health service uses it.

    It runs the callback of a stream that ended in a thread of the lane. In gRPC's own thread the callback would wait
    for a lock that a message to another stream holds, which itself waits for that thread.
    """

    def __init__(self, context: grpc.ServicerContext, pool: ThreadPoolExecutor) -> None:
        self._context = context
        self._pool = pool

    def add_callback(self, callback: Callable[[], object]) -> bool:
        """Registers what to do when the stream has ended."""
        return self._context.add_callback(lambda: self._submit(callback))

    def _submit(self, callback: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the server ends
            self._pool.submit(callback)
