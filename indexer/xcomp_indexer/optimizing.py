"""What follows a large ingest: the store is optimized, and whatever comes of that, the ingest stands."""

import logging
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from xcomp_indexer.events import Event, Progress, Summary
from xcomp_indexer.repository import Repository
from xcomp_protos.transport.errors import XcompError

_log = logging.getLogger(__name__)


def optimized(repository: Repository, summary: Summary) -> Generator[Event, None, Summary]:
    """Optimizes the store of a repository that has grown; returns the summary, with a notice if that failed."""
    began = time.monotonic()
    try:
        if not repository.store.wants_optimizing():
            return summary
        with closing(repository.store.optimize()) as steps:
            for step in steps:
                yield Progress(summary.scanned, summary.scanned, 0, summary.images_per_second, step.name)
    except XcompError as error:
        _log.warning("event=not_optimized repository=%s reason=%s", repository.name, type(error).__name__)
        return replace(summary, notice=str(error))
    seconds = time.monotonic() - began
    _log.info("event=optimized repository=%s seconds=%.1f", repository.name, seconds)
    return replace(summary, stages={**summary.stages, "optimize": seconds})
