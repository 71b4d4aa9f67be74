"""The number of active calls, and how long a server has been idle."""

import threading
import time


class ActiveCalls:
    """Counts the active calls, and measures the time since the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._since = time.monotonic()

    def enter(self) -> int:
        """Adds a call; returns the number of active calls."""
        with self._lock:
            self._active += 1
            return self._active

    def leave(self) -> None:
        """Removes a call."""
        with self._lock:
            self._active -= 1
            self._since = time.monotonic()

    def touch(self) -> None:
        """Restarts the idle time."""
        with self._lock:
            self._since = time.monotonic()

    def idle_s(self) -> float:
        """Returns the seconds since the last call ended; 0 while a call is active."""
        with self._lock:
            return 0.0 if self._active else time.monotonic() - self._since
