"""Seals what an ingest writes while it runs, and optimizes the store at its end.

A failure of either does not undo the ingest.
"""

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from xcomp_indexer.ingest.events import Event, Progress, Summary
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.store.compactor import BackgroundCompactor, _log
from xcomp_protos.errors import Conflict, XcompError


def with_compaction(repository: Repository, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """Passes on the events of an ingest; the summary has a notice if the store could not be sealed or optimized."""
    compactor = BackgroundCompactor(repository.store, repository.name)
    with closing(events):
        for event in events:
            if isinstance(event, Progress):
                yield event
                for _ in compactor.keep_up():
                    yield replace(event, step="seal")
            elif isinstance(event, Summary):
                for _ in compactor.wait():
                    yield Progress(event.scanned, event.scanned, 0, event.images_per_second, "seal")
                yield (yield from _finish(repository, event))
            else:
                yield event


def _finish(repository: Repository, summary: Summary) -> Generator[Event, None, Summary]:
    """Optimizes or seals after an ingest; returns the summary, with a notice if that failed."""
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
    except Conflict:  # another call does it already
        return summary
    except XcompError as error:
        _log.warning("event=not_optimized repository=%s reason=%s", repository.name, type(error).__name__)
        return replace(summary, notice=str(error))
    seconds = time.monotonic() - began
    _log.info("event=optimized repository=%s seconds=%.1f", repository.name, seconds)
    return replace(summary, stages={**summary.stages, "optimize": seconds})
