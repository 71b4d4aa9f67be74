"""`xcomp index --watch`: follows folders and runs an ingest when changes below them have settled.

The watcher only reports that something changed; the ingest finds out what. So no change is missed when changes come
fast, when a folder disappears and returns, or when the indexer does not answer for some time.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from xcomp_cli.indexing.run import IngestJob, IngestOutcome, run_ingest
from xcomp_cli.output import console
from xcomp_indexer.ingest.scan import FOREIGN_FOLDERS
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Unavailable, XcompError

SETTLE_MS = 500  # without changes, so that a copy of many files is one change
POLL_S = 30  # between two runs where the system cannot watch so many folders
_LIMIT_HINTS = ("OS file watch limit reached", "No space left on device", "Too many open files", "os error 28")
TICK_MS = 2000  # how often a missing folder is looked for and a failed run is repeated


def follow_changes(job: IngestJob, outcome: IngestOutcome, *, show: Callable[[IngestOutcome], None]) -> None:
    """Follows the paths of a job without end; `outcome` is the result of its first run, `show` prints news."""

    paths = [*job.request.paths, *job.uploads]
    news_filter, last_error, is_due = _NewsFilter(outcome), "", False
    console.note(f"watching {', '.join(map(console.printable, paths))}: ^C ends it")
    for changed in changes(paths):
        is_due = is_due or changed
        present = _without_missing_paths(job)
        if not is_due or not (present.request.paths or present.uploads):
            continue
        try:
            news = news_filter.select(run_ingest(present))
            is_due, last_error = False, ""
        except (XcompError, OSError) as error:
            if str(error) != last_error:
                console.warn(f"{console.printable(str(error))}: the next try follows")
            last_error = str(error)
            continue
        if news:
            show(news)


def changes(paths: Sequence[str], *, settle_ms: int = SETTLE_MS, tick_ms: int = TICK_MS) -> Iterator[bool]:
    """Yields without end: True where something changed below the paths since the last time, else False.

    The first value is True, and also the first after a path was replaced, because earlier changes were not watched.

    Raises:
        Unavailable: the system cannot watch the paths.
    """
    while True:
        there = _identities(paths)
        fresh = True
        for happened in _batches([path for path in paths if there[path]], settle_ms=settle_ms, tick_ms=tick_ms):
            replaced = _identities(paths) != there
            yield fresh or replaced or happened
            fresh = False
            if replaced:
                break


def _batches(paths: Sequence[str], *, settle_ms: int, tick_ms: int) -> Iterator[bool]:
    """Yields whether something changed, at the latest after a tick; ends if a path disappeared."""
    from watchfiles import watch

    while not paths:
        time.sleep(tick_ms / 1000)
        yield False
    try:
        for batch in watch(
            *paths,
            watch_filter=lambda _, path: _is_scanned(path, paths),
            step=settle_ms,
            debounce=10 * settle_ms,  # for folders that change all the time
            rust_timeout=tick_ms,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        ):
            yield bool(batch)
    except FileNotFoundError:  # a path disappeared before it was watched
        time.sleep(tick_ms / 1000)
    except (OSError, RuntimeError) as error:  # the library's own error is a RuntimeError
        if _is_watch_limit(error):
            yield from _poll(paths)
        raise Unavailable(f"{paths[0]} cannot be watched: {error}: run xcomp index regularly instead") from None


def _is_watch_limit(error: Exception) -> bool:
    """Whether the system has no watch or instance left, which inotify reports as a full disk or too many files."""
    is_limit = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EMFILE)
    return is_limit or any(hint in str(error) for hint in _LIMIT_HINTS)


def _poll(paths: Sequence[str]) -> Iterator[bool]:
    """Yields True regularly without end: an ingest of unchanged folders only reads their dates."""
    way = "raise the limit: sudo sysctl fs.inotify.max_user_watches=1048576"
    console.warn(f"{paths[0]} has more folders than the system watches, so they are read every {POLL_S} s; {way}")
    while True:
        time.sleep(POLL_S)
        yield True


def _is_scanned(path: str, roots: Sequence[str]) -> bool:
    """Whether a scan reads the path: it skips hidden folders and those of other programs."""

    below = next((os.path.relpath(path, root) for root in roots if Path(path).is_relative_to(root)), path)
    parts = () if below == "." else Path(below).parts
    return not any(part.startswith(".") or part.lower() in FOREIGN_FOLDERS for part in parts)


def _identities(paths: Sequence[str]) -> dict[str, tuple[int, int] | None]:
    """Returns device and inode of each path, None for a missing one, to see that a folder was replaced."""
    found: dict[str, tuple[int, int] | None] = {}
    for path in paths:
        try:
            status = Path(path).stat()
            found[path] = (status.st_dev, status.st_ino)
        except OSError:
            found[path] = None
    return found


def _without_missing_paths(job: IngestJob) -> IngestJob:
    """Returns the job without the paths that are missing now."""
    request = type(job.request)()
    request.CopyFrom(job.request)
    request.paths[:] = filter(os.path.exists, job.request.paths)
    return replace(job, request=request, uploads=[*filter(os.path.exists, job.uploads)])


class _NewsFilter:
    """Selects what to print: each failure once, and a refused prune when its number changes."""

    def __init__(self, outcome: IngestOutcome) -> None:
        self._failures = {_key(failure) for failure in outcome.failures}
        self._removable = outcome.summary.removable

    def select(self, outcome: IngestOutcome) -> IngestOutcome | None:
        """Returns what is new in an outcome, or None."""
        summary = outcome.summary
        failures = [failure for failure in outcome.failures if _key(failure) not in self._failures]
        self._failures |= {_key(failure) for failure in failures}
        refused, self._removable = summary.removable not in (0, self._removable), summary.removable
        done = summary.added + summary.updated + summary.renamed + summary.removed
        return IngestOutcome(summary, failures) if done or failures or refused else None


def _key(failure: pb.IngestFailure) -> tuple[str, str]:
    return failure.path, failure.message
