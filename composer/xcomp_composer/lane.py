"""A lane for work that must not crowd: a few at once, a few waiting, everybody else is told to come back."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xcomp_protos.transport.errors import Exhausted

RETRY_S = 5


class Lane:
    """Lets `width` callers work at once and `waiting` more queue."""

    def __init__(self, *, width: int, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(width + waiting)
        self._turns = threading.BoundedSemaphore(width)

    @contextmanager
    def enter(self, check: Callable[[], float]) -> Iterator[None]:
        """Waits for a turn.

        Args:
            check: seconds the caller still grants; raises when the caller is gone.

        Raises:
            Exhausted: the queue is full.
        """
        if not self._places.acquire(blocking=False):
            raise Exhausted(f"the composer's queue is full: try again in {RETRY_S} s")
        try:
            while not self._turns.acquire(timeout=min(check(), 0.2)):
                time.sleep(0)
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()
