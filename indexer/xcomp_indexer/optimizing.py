"""Keeps a store in shape while an ingest fills it: what is written is sealed as it comes; the end makes search fast.

Whatever comes of that, the ingest stands.
"""

import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace

from xcomp_indexer.events import Event, Progress, Summary
from xcomp_indexer.repository import Repository
from xcomp_indexer.store import Store
from xcomp_protos.transport.errors import Conflict, XcompError

_log = logging.getLogger(__name__)

_TOLD_EACH_S = 0.5
_ROUNDS = 8  # at most, for what is written meanwhile; then whoever writes next begins anew
_RESTS_S = 300.0  # after a failure, which is seldom mended at once
_FAR_AHEAD = 2.0  # backlog: as much again as is being sealed


class Sealing:
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


def tended(repository: Repository, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """Passes the events of an ingest on; the summary has a notice if the store could not be brought into shape."""
    sealing = Sealing(repository.store, repository.name)
    with closing(events):
        for event in events:
            if isinstance(event, Progress):
                yield event
                for _ in sealing.keep_up():
                    yield replace(event, step="seal")
            elif isinstance(event, Summary):
                for _ in sealing.wait():
                    yield Progress(event.scanned, event.scanned, 0, event.images_per_second, "seal")
                yield (yield from _finished(repository, event))
            else:
                yield event


def _finished(repository: Repository, summary: Summary) -> Generator[Event, None, Summary]:
    """Optimizes or seals what an ingest has left; returns the summary, with a notice if that failed."""
    began, store = time.monotonic(), repository.store
    try:
        if store.wants_optimizing():
            steps = store.optimize()
        elif store.backlog() >= 1:
            steps = store.seal()
        else:
            return summary
        with closing(steps):
            for step in steps:
                yield Progress(summary.scanned, summary.scanned, 0, summary.images_per_second, step.name)
    except Conflict:  # somebody else is at it
        return summary
    except XcompError as error:
        _log.warning("event=not_optimized repository=%s reason=%s", repository.name, type(error).__name__)
        return replace(summary, notice=str(error))
    seconds = time.monotonic() - began
    _log.info("event=optimized repository=%s seconds=%.1f", repository.name, seconds)
    return replace(summary, stages={**summary.stages, "optimize": seconds})
