"""Keeps a store in shape while an ingest fills it: what is written is sealed as it comes; the end makes search fast.

Whatever comes of that, the ingest stands.
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
    """Passes the events of an ingest on; the summary has a notice if the store could not be brought into shape."""
    sealing = BackgroundCompactor(repository.store, repository.name)
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
