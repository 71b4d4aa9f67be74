"""Writes what an ingest made, one batch at a time, while the ingest goes on with the next.

It knows points; it knows no files and no models.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from xcomp_indexer.store import Point, Store
from xcomp_protos.telemetry import api

_FLUSH_S = 30  # a power cut loses at most what came since; a kill loses nothing that was written


class Writer:
    """Writes batches in their order; `written` counts points, `seconds` the work."""

    def __init__(self, store: Store, lock: threading.Lock) -> None:
        """Args:
        store: where it writes.
        lock: of those who read points and write parts of them, held while whole ones are written.
        """
        self._store = store
        self._lock = lock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._under_way: Future[None] | None = None
        self._flushed = time.monotonic()
        self.written = 0
        self.seconds = 0.0

    def write(self, points: Sequence[Point], replaced: Sequence[str]) -> None:
        """Begins to write points, and to remove the ids that they replace; waits for the batch before.

        Raises:
            XcompError: what the store raised about the batch before.
        """
        self.wait()
        self._under_way = self._thread.submit(self._write, points, replaced)

    def wait(self) -> None:
        """Waits until everything is written; raises what the store raised."""
        under_way, self._under_way = self._under_way, None
        if under_way:
            under_way.result()

    def close(self) -> None:
        """Ends the thread, once the batch under way is written."""
        self._thread.shutdown()

    def _write(self, points: Sequence[Point], replaced: Sequence[str]) -> None:
        begun = time.monotonic()
        with api.stage("store"), self._lock:
            if replaced:  # first: after a kill the next run sees what is missing, but not which of two is left over
                self._store.delete(replaced)
            self._store.upsert(points)
        if time.monotonic() - self._flushed > _FLUSH_S:
            self._store.flush()
            self._flushed = time.monotonic()
        self.written += len(points)
        self.seconds += time.monotonic() - begun
