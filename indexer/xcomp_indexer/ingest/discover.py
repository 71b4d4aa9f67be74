"""Finds the files under the paths of a request, and selects those that an ingest must read.

Other files are counted only, so that memory depends on the files to read and not on all files.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from xcomp_indexer.ingest.events import IngestRequest, Progress, Summary
from xcomp_indexer.ingest.prune import Roots
from xcomp_indexer.ingest.scan import Entry, walk
from xcomp_indexer.repository.image_record import printable
from xcomp_protos.errors import InvalidRequest

PROGRESS_S = 0.25
_BATCH = 1024  # files per call of a selection

Select = Callable[[Sequence[Entry]], Sequence[Entry]]


@dataclass
class Discovery:
    """The files that were found."""

    scanned: int = 0
    todo: list[Entry] = field(default_factory=list)
    unreadable: list[tuple[str, OSError]] = field(default_factory=list)
    present: Counter[int] = field(default_factory=Counter)  # files by their group of `Roots`

    def add(self, entries: Sequence[Entry], select: Select, roots: Roots) -> None:
        """Counts files, and keeps those that are selected."""
        self.scanned += len(entries)
        self.present.update(roots.group(entry.path) for entry in entries)
        self.todo += select(entries)


def resolve_paths(request: IngestRequest) -> list[str]:
    """Returns the paths of a request as the scan spells them.

    Raises:
        InvalidRequest: one does not exist or cannot be read.
    """
    paths = [os.path.abspath(path) for path in request.paths]  # noqa: PTH100  # as the scan does
    for path in paths:
        try:
            os.stat(path)  # noqa: PTH116  # a path may have undecodable bytes
        except OSError as error:
            raise _to_invalid_request(error) from None
    return paths


def discover(
    request: IngestRequest, roots: Roots, select: Select, *, keep: Callable[[Entry], bool] | None = None
) -> Generator[Progress, None, Discovery]:
    """Walks the paths, and yields progress at intervals.

    Args:
        request: has the paths.
        roots: those of the paths.
        select: returns the files of a list that must be read.
        keep: files for which it is false are ignored.

    Raises:
        InvalidRequest: a path does not exist.
    """
    found, pending = Discovery(), list[Entry]()
    reported = time.monotonic()
    try:
        for piece in walk(request.paths, exclude=request.exclude, within=request.within):
            found.unreadable += piece.unreadable
            pending += filter(keep, piece.entries) if keep else piece.entries
            if len(pending) >= _BATCH:
                found.add(pending, select, roots)
                pending = []
            if time.monotonic() - reported > PROGRESS_S:
                reported = time.monotonic()
                yield Progress(found.scanned, 0, 0, 0.0)
    except OSError as error:
        raise _to_invalid_request(error) from None
    found.add(pending, select, roots)
    return found


def preview(request: IngestRequest) -> Generator[Progress | Summary, None, None]:
    """Yields progress and summary of a dry run for a repository that does not exist yet: all files are new.

    Raises:
        InvalidRequest: a path does not exist.
    """
    begun = time.monotonic()
    found = yield from discover(request, Roots(resolve_paths(request)), lambda _: ())
    seconds = time.monotonic() - begun
    yield Summary(found.scanned, found.scanned, 0, 0, 0, 0, 0, 0, seconds, 0.0, {"scan": seconds})


def _to_invalid_request(error: OSError) -> InvalidRequest:
    path = printable(str(error.filename))
    if isinstance(error, FileNotFoundError):
        return InvalidRequest(f"paths: {path} does not exist")
    return InvalidRequest(f"paths: {path} cannot be read: {error.strerror}")
