"""Seals written points in the background while an ingest runs."""

import logging
import threading
import time
from collections.abc import Iterator

from xcomp_indexer.store import Store
from xcomp_protos.errors import Conflict, XcompError

_log = logging.getLogger(__name__)
_TOLD_EACH_S = 0.5
_ROUNDS = 8  # at most, for what is written meanwhile; then whoever writes next begins anew
_RESTS_S = 300.0  # after a failure, which is seldom mended at once
_FAR_AHEAD = 2.0  # backlog: as much again as is being sealed


class BackgroundCompactor:
    """Seals what is written in a thread of its own while a writer goes on, who waits only where he is far ahead."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._lock = threading.Lock()  # of those who begin
        self._thread: threading.Thread | None = None
        self._rests_until = 0.0  # monotonic seconds

    def begin(self) -> float:
        """Starts sealing when that is worth it; returns the backlog, 0 where nothing came of it a while ago."""
        with self._lock:
            if time.monotonic() < self._rests_until:
                return 0.0
            backlog = self._store.backlog()
            if backlog >= 1 and not self._running():
                self._thread = threading.Thread(target=self._seal, name="seal", daemon=True)
                self._thread.start()
            return backlog

    def keep_up(self) -> Iterator[None]:
        """Starts sealing when that is worth it; yields now and then while the writer, far ahead, is to wait."""
        if self.begin() >= _FAR_AHEAD:
            yield from self.wait()

    def wait(self) -> Iterator[None]:
        """Yields now and then until what was begun has ended."""
        while self._thread and self._running():
            self._thread.join(_TOLD_EACH_S)
            yield

    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _seal(self) -> None:
        began = time.monotonic()
        try:
            for _ in range(_ROUNDS):
                for _ in self._store.seal():
                    pass
                if self._store.backlog() < 1:
                    break
        except Conflict:  # somebody else is at it
            return
        except XcompError as error:
            self._rests_until = time.monotonic() + _RESTS_S
            _log.warning("event=not_sealed repository=%s reason=%s", self._name, type(error).__name__)
            return
        _log.info("event=sealed repository=%s seconds=%.1f", self._name, time.monotonic() - began)
