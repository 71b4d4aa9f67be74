"""A lane for work that must not crowd: a few at once, a few waiting, everybody else is told to come back."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xcomp_protos.transport import telemetry
from xcomp_protos.transport.errors import Exhausted

RETRY_S = 5
CHECK_S = 0.2  # how soon a waiting caller that went away is noticed


class Lane:
    """Lets `width` callers work at once and `waiting` more queue; who came first goes first."""

    def __init__(self, *, width: int, waiting: int, name: str = "model") -> None:
        self._name = name  # as the metrics know the queue
        self._free = width
        self._room = waiting
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()

    @contextmanager
    def enter(self, check: Callable[[], float]) -> Iterator[None]:
        """Waits for a turn.

        Args:
            check: seconds the caller still grants; raises when the caller is gone.

        Raises:
            Exhausted: the queue is full.
        """
        turn = self._turn()
        try:
            if not turn.is_set():
                with telemetry.waiting(self._name):
                    while not turn.wait(min(check(), CHECK_S)):
                        pass
            yield
        finally:
            self._leave(turn)

    def _turn(self) -> threading.Event:
        """Returns what is set once the caller may go on."""
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                turn.set()
            elif len(self._queue) < self._room:
                self._queue.append(turn)
            else:
                raise Exhausted(f"the composer's queue is full: try again in {RETRY_S} s", retry_after_s=RETRY_S)
        return turn

    def _leave(self, turn: threading.Event) -> None:
        """Hands the turn on, or gives the place in the queue up."""
        with self._lock:
            if not turn.is_set():
                self._queue.remove(turn)
            elif self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1
