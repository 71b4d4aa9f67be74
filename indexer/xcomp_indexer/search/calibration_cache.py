"""Caches the calibrations of all open repositories; computes one when it is first needed, and again when it is stale.

A calibration sends a hundred queries through the repository, so it is computed once for all callers that wait for it.
Callers that can use the previous one do not wait. Counting a large repository costs as much as a search, so it is not
counted for every search.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.repository.spaces import Space
from xcomp_indexer.search.calibration import Calibration, calibrate
from xcomp_protos.telemetry import api

COUNT_S = 5.0  # interval at which a searched repository is counted; it is also counted after a write
GROWN = 0.1  # share by which a repository may grow or shrink before its calibrations are computed again

Background = Callable[[Repository, str], Vectors]  # the background queries in a space


@dataclass
class _CachedCalibration:
    calibration: Calibration
    count: int  # points of the repository when it was computed; -1: stale


@dataclass
class _RepositoryEntry:
    locks: dict[Space, threading.Lock] = field(default_factory=dict)  # held while counting and computing
    calibrations: dict[Space, _CachedCalibration] = field(default_factory=dict)
    forgotten: int = 0  # times
    count: int = -1
    counted_at: float = 0.0  # monotonic seconds; 0: not since the last write


class CalibrationCache:
    """Caches the calibration of every space of every open repository."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._lock = threading.Lock()
        self._entries: WeakKeyDictionary[Repository, _RepositoryEntry] = WeakKeyDictionary()

    def get(self, repository: Repository, space: str) -> Calibration:
        """Return the calibration of a space.

        It is computed again when the repository has grown or shrunk by a tenth; other threads get the previous one
        meanwhile.
        """
        key = repository.record.spaces[space]
        with self._lock:
            entry = self._entries.setdefault(repository, _RepositoryEntry())
            lock = entry.locks.setdefault(key, threading.Lock())
        previous = entry.calibrations.get(key)
        if not lock.acquire(blocking=previous is None):
            assert previous is not None
            return previous.calibration
        try:
            cached = entry.calibrations.get(key)
            count = _count_points(entry, repository)
            is_stale = cached is None or abs(count - cached.count) > GROWN * cached.count
            api.count("cache_lookups", 1, "calibration", "miss" if is_stale else "hit")
            if cached is None or is_stale:
                forgotten = entry.forgotten
                calibration = calibrate(repository.store, space, self._background(repository, space))
                cached = _CachedCalibration(calibration, count if entry.forgotten == forgotten else -1)
                entry.calibrations[key] = cached
            return cached.calibration
        finally:
            lock.release()

    def recount(self, repository: Repository) -> None:
        """Make the next search count a repository that may have grown or shrunk."""
        with self._lock:
            entry = self._entries.get(repository)
        if entry:
            entry.counted_at = 0.0

    def forget(self, repository: Repository) -> None:
        """Mark the calibrations of a repository that changed as stale."""
        with self._lock:
            entry = self._entries.get(repository)
        if entry:
            entry.forgotten += 1
            entry.counted_at = 0.0
            for cached in list(entry.calibrations.values()):
                cached.count = -1


def _count_points(entry: _RepositoryEntry, repository: Repository) -> int:
    """Count the points of a repository at intervals, since other servers may write to its store as well."""
    if not entry.counted_at or time.monotonic() - entry.counted_at > COUNT_S:
        entry.counted_at = time.monotonic()
        entry.count = repository.store.count()
    return entry.count
