"""The number of active calls, and how long a server has been idle."""

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable


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


def free_regularly(free: Callable[[float], bool], *, after_s: float) -> None:
    """Calls `free(after_s)` in the background until the process ends, often enough to be at most a tenth late.

    If it freed something, the memory goes back to the system.
    """

    def run() -> None:
        pause = threading.Event()
        while not pause.wait(after_s / 10):
            if free(after_s):
                gc.collect()
                _trim_heap()

    threading.Thread(target=run, name="free-models", daemon=True).start()


def _trim_heap() -> None:
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
        if trim is not None:
            trim(0)
