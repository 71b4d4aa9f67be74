"""How many calls are under way, and since when there is none: what a server leaves by when it idles."""

import threading
import time


class ActiveCalls:
    """Counts the calls under way and knows since when there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._since = time.monotonic()

    def enter(self) -> int:
        """Counts a call in; returns how many are under way now."""
        with self._lock:
            self._active += 1
            return self._active

    def leave(self) -> None:
        """Counts a call out."""
        with self._lock:
            self._active -= 1
            self._since = time.monotonic()

    def touch(self) -> None:
        """Begins the idle time anew."""
        with self._lock:
            self._since = time.monotonic()

    def idle_s(self) -> float:
        """Seconds since the last call ended; 0 while one is under way."""
        with self._lock:
            return 0.0 if self._active else time.monotonic() - self._since
