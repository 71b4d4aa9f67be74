"""Looks at the files under the paths of an order, and picks those that an ingest has to read.

Files that need no reading are counted and forgotten, so that memory follows what is to be done and not what is there.
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
_AT_ONCE = 1024  # files that are picked from together

Pick = Callable[[Sequence[Entry]], Sequence[Entry]]


@dataclass
class Survey:
    """What was found."""

    scanned: int = 0
    todo: list[Entry] = field(default_factory=list)
    unreadable: list[tuple[str, OSError]] = field(default_factory=list)
    there: Counter[int] = field(default_factory=Counter)  # files by the group of `Roots` that they lie under

    def take(self, entries: Sequence[Entry], pick: Pick, roots: Roots) -> None:
        """Counts files, and keeps those that are picked."""
        self.scanned += len(entries)
        self.there.update(roots.group(entry.path) for entry in entries)
        self.todo += pick(entries)


def paths_of(order: IngestRequest) -> list[str]:
    """Returns the paths of an order as the scan spells them.

    Raises:
        InvalidRequest: one does not exist or cannot be looked at.
    """
    paths = [os.path.abspath(path) for path in order.paths]  # noqa: PTH100  # as the scan does
    for path in paths:
        try:
            os.stat(path)  # noqa: PTH116  # it may hold undecodable bytes
        except OSError as error:
            raise _refused(error) from None
    return paths


def survey(
    order: IngestRequest, roots: Roots, pick: Pick, *, only: Callable[[Entry], bool] | None = None
) -> Generator[Progress, None, Survey]:
    """Walks, and says now and then how far it is.

    Args:
        order: names the paths.
        roots: of these paths.
        pick: returns those of some files that are to be read.
        only: leaves out all files for which it is false, as if they were not there.

    Raises:
        InvalidRequest: a path does not exist.
    """
    found, waiting = Survey(), list[Entry]()
    told = time.monotonic()
    try:
        for piece in walk(order.paths, exclude=order.exclude, within=order.within):
            found.unreadable += piece.unreadable
            waiting += filter(only, piece.entries) if only else piece.entries
            if len(waiting) >= _AT_ONCE:
                found.take(waiting, pick, roots)
                waiting = []
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                yield Progress(found.scanned, 0, 0, 0.0)
    except OSError as error:
        raise _refused(error) from None
    found.take(waiting, pick, roots)
    return found


def preview(order: IngestRequest) -> Generator[Progress | Summary, None, None]:
    """Says what a dry run would find for a repository that does not exist yet: everything is new.

    Raises:
        InvalidRequest: a path does not exist.
    """
    begun = time.monotonic()
    found = yield from survey(order, Roots(paths_of(order)), lambda _: ())
    seconds = time.monotonic() - begun
    yield Summary(found.scanned, found.scanned, 0, 0, 0, 0, 0, 0, seconds, 0.0, {"scan": seconds})


def _refused(error: OSError) -> InvalidRequest:
    path = printable(str(error.filename))
    if isinstance(error, FileNotFoundError):
        return InvalidRequest(f"paths: {path} does not exist")
    return InvalidRequest(f"paths: {path} cannot be read: {error.strerror}")
