"""Ends calls that take too long; one thread watches all of them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CallTimeouts:
    """Ends what takes too long, so that silent or slow callers hold no thread; gRPC itself waits for ever.

    One thread watches, and only while there is something to watch.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[object, tuple[float, Callable[[], object]]] = {}
        self._watching = False
        self._asleep = False  # the thread waits for a notification; otherwise it looks every second
        self._idle = False  # no limit was set since the thread last looked
        self._looks = 0.0  # when the thread looks next

    @contextmanager
    def limit(self, seconds: float, give_up: Callable[[], object]) -> Iterator[None]:
        """Calls `give_up` from another thread if the body takes longer."""
        key = object()
        with self._changed:
            end = time.monotonic() + seconds
            self._ends[key] = end, give_up
            self._idle = False
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="call-timeouts", daemon=True).start()
            if self._asleep or end < self._looks:
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
            if not late:  # most limits notify no thread that is awake: it looks often enough for them
                self._asleep, self._idle = self._idle and not self._ends, not self._ends
                soonest = min((end - now for end, _ in self._ends.values()), default=1.0)
                self._looks = now + min(1.0, soonest)
                self._changed.wait(None if self._asleep else min(1.0, soonest))
                self._asleep = False
            return [self._ends.pop(key)[1] for key in late]


call_timeouts = CallTimeouts()  # of the whole process: a thread for each server would be of no use
