"""The calibrations of all open repositories, each taken when it is first needed and anew when it no longer fits.

Taking one sends a hundred queries through the repository, so it is done once for all who wait for it, and whoever can
use the one before does not wait at all. Counting a large repository costs as much as a search; it is not done for each.
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

COUNT_S = 5.0  # a repository is counted this often while it is searched, and when something was written to it
GROWN = 0.1  # share by which a repository may grow or shrink until its scales are taken anew

Background = Callable[[Repository, str], Vectors]  # the background queries in a space


@dataclass
class _CachedScale:
    calibration: Calibration
    count: int  # points of the repository when it was taken; -1: it was not, and fits none


@dataclass
class _Known:
    locks: dict[Space, threading.Lock] = field(default_factory=dict)  # its holder counts, and takes the scale anew
    scales: dict[Space, _CachedScale] = field(default_factory=dict)
    forgotten: int = 0  # times
    count: int = -1
    counted: float = 0.0  # monotonic seconds; 0: not since something was written


class CalibrationCache:
    """Keeps the scale of every space of every open repository."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._lock = threading.Lock()
        self._known: WeakKeyDictionary[Repository, _Known] = WeakKeyDictionary()

    def of(self, repository: Repository, space: str) -> Calibration:
        """Returns the scale of a space.

        It is taken anew when the repository has grown or shrunk by a tenth; meanwhile other threads get the one before.
        """
        key = repository.record.spaces[space]
        with self._lock:
            known = self._known.setdefault(repository, _Known())
            lock = known.locks.setdefault(key, threading.Lock())
        before = known.scales.get(key)
        if not lock.acquire(blocking=before is None):
            assert before is not None
            return before.calibration
        try:
            scale = known.scales.get(key)
            count = _counted(known, repository)
            stale = scale is None or abs(count - scale.count) > GROWN * scale.count
            api.count("cache_lookups", 1, "calibration", "miss" if stale else "hit")
            if scale is None or stale:
                begun = known.forgotten
                taken = calibrate(repository.store, space, self._background(repository, space))
                scale = _CachedScale(taken, count if known.forgotten == begun else -1)
                known.scales[key] = scale
            return scale.calibration
        finally:
            lock.release()

    def recount(self, repository: Repository) -> None:
        """Lets the next search count a repository that may have grown or shrunk."""
        with self._lock:
            known = self._known.get(repository)
        if known:
            known.counted = 0.0

    def forget(self, repository: Repository) -> None:
        """Lets the scales of a repository that changed be taken anew."""
        with self._lock:
            known = self._known.get(repository)
        if known:
            known.forgotten += 1
            known.counted = 0.0
            for scale in list(known.scales.values()):
                scale.count = -1


def _counted(known: _Known, repository: Repository) -> int:
    """Counts the points of a repository, now and then: others may write to its store as well."""
    if not known.counted or time.monotonic() - known.counted > COUNT_S:
        known.counted = time.monotonic()
        known.count = repository.store.count()
    return known.count
