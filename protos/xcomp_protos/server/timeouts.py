"""How long a caller may keep a thread of ours waiting: to send its next message, or to take ours.

gRPC itself waits for ever, so that a few deaf or silent callers could hold all threads of a server.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CallTimeouts:
    """Breaks off what takes too long; one thread watches, and only while there is something to watch."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[object, tuple[float, Callable[[], object]]] = {}
        self._watching = False
        self._asleep = False  # until it is called, that is; else it looks around every second by itself
        self._idle = False  # since it looked last nothing was to be watched

    @contextmanager
    def limit(self, seconds: float, give_up: Callable[[], object]) -> Iterator[None]:
        """Calls `give_up` from another thread if the body takes longer."""
        key = object()
        with self._changed:
            self._ends[key] = time.monotonic() + seconds, give_up
            self._idle = False
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="patience", daemon=True).start()
            if self._asleep:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._ends.pop(key, None)

    def _watch(self) -> None:
        while True:
            for give_up in self._overdue():
                give_up()

    def _overdue(self) -> list[Callable[[], object]]:
        with self._changed:
            now = time.monotonic()
            late = [key for key, (end, _) in self._ends.items() if end <= now]
            if not late:  # not called for each limit: it looks often enough for those that were set meanwhile
                self._asleep, self._idle = self._idle and not self._ends, not self._ends
                soonest = min((end - now for end, _ in self._ends.values()), default=1.0)
                self._changed.wait(None if self._asleep else min(1.0, soonest))
                self._asleep = False
            return [self._ends.pop(key)[1] for key in late]


patience = CallTimeouts()  # of the whole process: a thread per server would gain nothing
