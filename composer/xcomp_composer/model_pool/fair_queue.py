"""A bounded queue that runs a few pieces of work at once, takes turns between their owners, and refuses the rest.

The owner that has had the least work is next (start-time fair queueing, Goyal 1996). Each owner's next piece of work
starts, on a clock that counts work, where its last one ended, but not before the work that runs now. So an article of
many long calls cannot starve an article of a few short ones, and an owner that pauses does not save up turns.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xcomp_protos.errors import Exhausted
from xcomp_protos.telemetry import api

RETRY_S = 5
_POLL_S = 0.2  # how often a waiting call checks whether it was cancelled


@dataclass(eq=False)
class _Ticket:
    """One piece of work in the queue; the smallest start goes first, then the earliest arrival."""

    owner: object
    start: float
    arrival: int


class FairQueue:
    """Runs `width` pieces of work at once and lets `waiting` more queue."""

    def __init__(
        self, *, width: int, waiting: int, name: str = "model", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name  # label of the metrics
        self._width = width
        self._waiting = waiting
        self._clock = clock
        self._since = clock()  # when the last turn ended
        self._changed = threading.Condition()
        self._queue: list[_Ticket] = []
        self._running = 0
        self._arrivals = 0
        self._now = 0.0  # start of the work that was admitted last, in seconds of work
        self._ends: dict[object, float] = {}  # where the last work of each owner ended, on the same clock

    @contextmanager
    def enter(self, check: Callable[[], float], *, owner: object = None) -> Iterator[None]:
        """Waits for a turn.

        Args:
            check: returns the seconds that are left of the call; raises when it was cancelled.
            owner: whose turn it is; work without an owner belongs to one common owner.

        Raises:
            Exhausted: the queue is full.
        """
        ticket = self._enqueue(owner)
        self._wait(ticket, check)
        started = self._clock()
        try:
            yield
        finally:
            self._leave(ticket, self._clock() - started)

    def idle_s(self) -> float:
        """Returns the seconds since the last turn ended; 0 while a call has its turn or waits for it."""
        with self._changed:
            return 0.0 if self._running or self._queue else self._clock() - self._since

    def _enqueue(self, owner: object) -> _Ticket:
        with self._changed:
            if self._running + len(self._queue) >= self._width + self._waiting:
                raise Exhausted(f"the composer's queue is full: try again in {RETRY_S} s", retry_after_s=RETRY_S)
            self._arrivals += 1
            ticket = _Ticket(owner, max(self._now, self._ends.get(owner, 0.0)), self._arrivals)
            self._queue.append(ticket)
            return ticket

    def _wait(self, ticket: _Ticket, check: Callable[[], float]) -> None:
        with self._changed:
            try:
                if not self._is_next(ticket):
                    with api.count_waiting(self._name):
                        while not self._is_next(ticket):
                            self._changed.wait(timeout=min(check(), _POLL_S))
            except BaseException:
                self._queue.remove(ticket)
                self._changed.notify_all()
                raise
            self._queue.remove(ticket)
            self._running += 1
            self._now = max(self._now, ticket.start)
            self._changed.notify_all()

    def _is_next(self, ticket: _Ticket) -> bool:
        first = min(self._queue, key=lambda each: (each.start, each.arrival))
        return self._running < self._width and first is ticket

    def _leave(self, ticket: _Ticket, seconds: float) -> None:
        with self._changed:
            self._running -= 1
            self._since = self._clock()
            self._ends[ticket.owner] = max(self._ends.get(ticket.owner, 0.0), ticket.start + seconds)
            is_idle = not (self._running or self._queue)  # no owner left to be fair to
            self._ends = {} if is_idle else {each: end for each, end in self._ends.items() if end > self._now}
            self._changed.notify_all()
