"""Writes the points of an ingest in a thread, one batch at a time, while the ingest prepares the next.

Does not depend on files or models.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from xcomp_indexer.store import Point, Store
from xcomp_protos.telemetry import api

_FLUSH_S = 30  # a power cut loses at most these seconds; a kill loses no written batch


class Writer:
    """Writes batches in order; `written` counts points, `seconds` measures the work."""

    def __init__(self, store: Store, lock: threading.Lock) -> None:
        """Args:
        store: where it writes.
        lock: shared with code that reads points and writes parts of them; held during a write.
        """
        self._store = store
        self._lock = lock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._pending: Future[None] | None = None
        self._flushed = time.monotonic()
        self.written = 0
        self.seconds = 0.0

    def write(self, points: Sequence[Point], replaced: Sequence[str]) -> None:
        """Starts writing points and removing the ids that they replace; waits for the previous batch first.

        Raises:
            XcompError: the store failed on the previous batch.
        """
        self.wait()
        self._pending = self._thread.submit(self._write, points, replaced)

    def wait(self) -> None:
        """Waits until everything is written; raises the error of the store, if any."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        """Ends the thread after the current batch."""
        self._thread.shutdown()

    def _write(self, points: Sequence[Point], replaced: Sequence[str]) -> None:
        begun = time.monotonic()
        with api.stage("store"), self._lock:
            if replaced:  # first: after a kill the next ingest adds a missing image, but does not notice a duplicate
                self._store.delete(replaced)
            self._store.upsert(points)
        if time.monotonic() - self._flushed > _FLUSH_S:
            self._store.flush()
            self._flushed = time.monotonic()
        self.written += len(points)
        self.seconds += time.monotonic() - begun
