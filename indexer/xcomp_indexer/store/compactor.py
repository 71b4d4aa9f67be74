"""Seals written points in the background while an ingest runs."""

import logging
import threading
import time
from collections.abc import Iterator

from xcomp_indexer.store import Store
from xcomp_protos.errors import Conflict, XcompError

_log = logging.getLogger(__name__)
_YIELD_EACH_S = 0.5
_ROUNDS = 8  # at most, for points that are written during sealing; the next write starts it again
_PAUSE_S = 300.0  # after a failure, whose cause seldom goes away at once
_FAR_AHEAD = 2.0  # backlog: as much again as is being sealed


class BackgroundCompactor:
    """Seals written points in a thread of its own; the writer goes on and waits only if it is far ahead."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._lock = threading.Lock()  # for `begin`
        self._thread: threading.Thread | None = None
        self._paused_until = 0.0  # monotonic seconds

    def begin(self) -> float:
        """Start sealing if the backlog is large enough; return the backlog, or 0 during the pause after a failure."""
        with self._lock:
            if time.monotonic() < self._paused_until:
                return 0.0
            backlog = self._store.backlog()
            if backlog >= 1 and not self._is_running():
                self._thread = threading.Thread(target=self._seal, name="seal", daemon=True)
                self._thread.start()
            return backlog

    def keep_up(self) -> Iterator[None]:
        """Start sealing if the backlog is large enough; yield at intervals while the writer, far ahead, must wait."""
        if self.begin() >= _FAR_AHEAD:
            yield from self.wait()

    def wait(self) -> Iterator[None]:
        """Yield at intervals until sealing has ended."""
        while self._thread and self._is_running():
            self._thread.join(_YIELD_EACH_S)
            yield

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _seal(self) -> None:
        began = time.monotonic()
        try:
            for _ in range(_ROUNDS):
                for _ in self._store.seal():
                    pass
                if self._store.backlog() < 1:
                    break
        except Conflict:  # a rebuild is running already
            return
        except XcompError as error:
            self._paused_until = time.monotonic() + _PAUSE_S
            _log.warning("event=not_sealed repository=%s reason=%s", self._name, type(error).__name__)
            return
        _log.info("event=sealed repository=%s seconds=%.1f", self._name, time.monotonic() - began)
