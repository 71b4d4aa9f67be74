"""The ledger of failures: files that are no readable picture, kept so that each is read once and named every time.

An entry is a point without vectors in the repository's own store. No search finds it, there may be as many as there
are files, and it needs no second database. It knows files and reasons; it opens none.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from xcomp_indexer.ingest.events import Failure, Summary
from xcomp_indexer.ingest.prune import above
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.repository.image_record import IMAGES, printable, spelled_path, utc
from xcomp_indexer.store import Match, Not, Point, ScoredPoint, Store
from xcomp_protos.errors import ImageError

REASONS = (
    "truncated", "not_an_image", "empty", "too_large", "unsupported", "sidecar", "permission", "vanished", "unreadable",
)  # fmt: skip
# Reasons that lie outside the file, so that an equal stat says nothing of them: such a file is tried every time.
_PASSING = frozenset(("permission", "vanished", "unreadable"))
FIELDS = ("failure", "message", "path", "path_bytes", "size", "mtime_ns", "sidecar_mtime_ns")
_KEPT = 100  # failures named with the counts of a run
_DRAFTS = 100  # entries written at once; a kill costs at most so many readings
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:xcomp:failure")


@dataclass(frozen=True)
class Remembered:
    """A failure as the ledger keeps it."""

    path: str  # as the os module spells it
    size: int
    mtime_ns: int
    sidecar_mtime_ns: int
    reason: str
    message: str


class FailureLog:
    """The failures of one repository during one ingest."""

    def __init__(self, store: Store, repository: str, *, read_only: bool) -> None:
        self._store = store
        self._repository = repository
        self._read_only = read_only
        self._before: dict[str, Remembered] = {}  # by path
        self._now: set[str] = set()  # paths that failed in this run
        self._drafts: list[Remembered] = []

    def recall(self, point: ScoredPoint) -> None:
        """Takes in an entry that the store held before the run."""
        kept = _remembered(point)
        self._before[kept.path] = kept

    def error_of(self, entry: Entry) -> ImageError | None:
        """Returns why a file is no picture, if it was read before and nothing was touched since."""
        kept = self._before.get(entry.path)
        if kept is None or kept.reason in _PASSING:
            return None
        stats = (entry.size, entry.mtime_ns, entry.sidecar_mtime_ns)
        if stats != (kept.size, kept.mtime_ns, kept.sidecar_mtime_ns):
            return None
        return ImageError(kept.message, reason=kept.reason)

    def failed_before(self, entry: Entry) -> bool:
        """Says whether a file failed before the run, touched since or not."""
        return entry.path in self._before

    def note(self, path: str, *, reason: str, message: str, entry: Entry | None = None) -> None:
        """Keeps a failure; `entry` is absent where there is no file that could be looked at."""
        stats = (entry.size, entry.mtime_ns, entry.sidecar_mtime_ns) if entry else (0, 0, 0)
        kept = Remembered(path, *stats, reason, message)
        self._now.add(path)
        if kept != self._before.get(path):
            self._drafts.append(kept)
        if len(self._drafts) >= _DRAFTS:
            self._save()

    def settle(self, unreadable: Sequence[tuple[str, OSError]], roots: Sequence[str]) -> None:
        """Ends a run: what lay in sight under the roots and did not fail this time is forgotten."""
        self._save()
        hidden = {path for path, _ in unreadable}
        places = frozenset(roots)
        over = [
            path
            for path in self._before
            if path not in self._now and any(above(path, places)) and not any(above(path, hidden))
        ]
        if not self._read_only:
            self._store.delete([_id(self._repository, path) for path in over])

    def _save(self) -> None:
        if not self._read_only and self._drafts:
            self._store.upsert([_point(self._repository, kept) for kept in self._drafts])
        self._drafts = []


def counts(store: Store) -> dict[str, int]:
    """Counts the failures of a repository by reason, the most frequent first."""
    if not store.count(Not(IMAGES)):
        return {}
    found = {reason: store.count(Match("failure", (reason,))) for reason in REASONS}
    return {reason: count for reason, count in sorted(found.items(), key=lambda each: -each[1]) if count}


def moved(payload: Mapping[str, object], repository: str) -> Point:
    """Returns an entry as it is in the ledger of a repository of another name."""
    return _point(repository, _remembered(ScoredPoint("", 0.0, payload)))


def remember(store: Store, summary: Summary, failures: Sequence[Failure]) -> None:
    """Keeps the counts of the last ingest, and its first failures, for `status`."""
    kept = [vars(failure) for failure in failures[:_KEPT]]
    finished = utc(datetime.now(UTC))
    store.set_meta(
        {"last_ingest": {**vars(summary), "stages": dict(summary.stages), "failures": kept, "finished": finished}}
    )


def _id(repository: str, path: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{repository}\0{os.fsencode(path).hex()}"))


def _point(repository: str, kept: Remembered) -> Point:
    content: dict[str, object] = {
        "failure": kept.reason,
        "message": kept.message,
        "path": printable(kept.path),
        "size": kept.size,
        "mtime_ns": kept.mtime_ns,
        "sidecar_mtime_ns": kept.sidecar_mtime_ns,
    }
    if content["path"] != kept.path:
        content["path_bytes"] = os.fsencode(kept.path).hex()
    return Point(_id(repository, kept.path), {}, content)


def _remembered(point: ScoredPoint) -> Remembered:
    fields = point.payload
    return Remembered(
        path=spelled_path(fields),
        size=cast("int", fields["size"]),
        mtime_ns=cast("int", fields["mtime_ns"]),
        sidecar_mtime_ns=cast("int", fields["sidecar_mtime_ns"]),
        reason=str(fields["failure"]),
        message=str(fields["message"]),
    )
