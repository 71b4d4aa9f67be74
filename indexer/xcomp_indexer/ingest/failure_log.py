"""The failure log: files that are not readable images, so that each is read once and reported by every ingest.

An entry is a point without vectors in the store of the repository. No search returns it, and it needs no second
database. This file does not open image files.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from xcomp_indexer.ingest.events import Failure, Summary
from xcomp_indexer.ingest.prune import ancestors_in
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.repository.image_record import IMAGES, printable, spelled_path, utc
from xcomp_indexer.store import Match, Not, Point, ScoredPoint, Store
from xcomp_protos.errors import ImageError

REASONS = (
    "truncated", "not_an_image", "empty", "too_large", "unsupported", "sidecar", "permission", "vanished", "unreadable",
)  # fmt: skip
# Reasons outside the file, which an equal stat does not tell: these files are read every time.
_TRANSIENT = frozenset(("permission", "vanished", "unreadable"))
FIELDS = ("failure", "message", "path", "path_bytes", "size", "mtime_ns", "sidecar_mtime_ns")
_MAX_LISTED = 100  # failures in the status of a repository
_BATCH = 100  # entries per write; a killed ingest loses less than one batch
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:xcomp:failure")


@dataclass(frozen=True)
class LoggedFailure:
    """An entry of the failure log."""

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
        self._previous: dict[str, LoggedFailure] = {}  # by path
        self._current: set[str] = set()  # paths that failed in this run
        self._unsaved: list[LoggedFailure] = []

    def load(self, point: ScoredPoint) -> None:
        """Adds an entry that the store had before the run."""
        failure = _parse_entry(point)
        self._previous[failure.path] = failure

    def find_error(self, entry: Entry) -> ImageError | None:
        """Returns why a file is not an image, if it was read before and has not changed since."""
        failure = self._previous.get(entry.path)
        if failure is None or failure.reason in _TRANSIENT:
            return None
        stats = (entry.size, entry.mtime_ns, entry.sidecar_mtime_ns)
        if stats != (failure.size, failure.mtime_ns, failure.sidecar_mtime_ns):
            return None
        return ImageError(failure.message, reason=failure.reason)

    def has_failed(self, entry: Entry) -> bool:
        """Whether a file failed before the run, changed since or not."""
        return entry.path in self._previous

    def add(self, path: str, *, reason: str, message: str, entry: Entry | None = None) -> None:
        """Adds a failure; without `entry` if the file could not be examined."""
        stats = (entry.size, entry.mtime_ns, entry.sidecar_mtime_ns) if entry else (0, 0, 0)
        failure = LoggedFailure(path, *stats, reason, message)
        self._current.add(path)
        if failure != self._previous.get(path):
            self._unsaved.append(failure)
        if len(self._unsaved) >= _BATCH:
            self._save()

    def finish(self, unreadable: Sequence[tuple[str, OSError]], roots: Sequence[str]) -> None:
        """Ends a run: removes the entries of readable paths under the roots that did not fail this time."""
        self._save()
        hidden = {path for path, _ in unreadable}
        root_set = frozenset(roots)
        obsolete = [
            path
            for path in self._previous
            if path not in self._current and any(ancestors_in(path, root_set)) and not any(ancestors_in(path, hidden))
        ]
        if not self._read_only:
            self._store.delete([_id(self._repository, path) for path in obsolete])

    def _save(self) -> None:
        if not self._read_only and self._unsaved:
            self._store.upsert([_point(self._repository, failure) for failure in self._unsaved])
        self._unsaved = []


def count_failures(store: Store) -> dict[str, int]:
    """Returns the number of failures of a repository by reason, the most frequent first."""
    if not store.count(Not(IMAGES)):
        return {}
    counts = {reason: store.count(Match("failure", (reason,))) for reason in REASONS}
    return {reason: count for reason, count in sorted(counts.items(), key=lambda each: -each[1]) if count}


def to_point(payload: Mapping[str, object], repository: str) -> Point:
    """Returns the point of an entry in the failure log of another repository."""
    return _point(repository, _parse_entry(ScoredPoint("", 0.0, payload)))


def save_summary(store: Store, summary: Summary, failures: Sequence[Failure]) -> None:
    """Saves the counts of an ingest and its first failures for `status`."""
    listed = [vars(failure) for failure in failures[:_MAX_LISTED]]
    finished = utc(datetime.now(UTC))
    store.set_meta(
        {"last_ingest": {**vars(summary), "stages": dict(summary.stages), "failures": listed, "finished": finished}}
    )


def _id(repository: str, path: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{repository}\0{os.fsencode(path).hex()}"))


def _point(repository: str, failure: LoggedFailure) -> Point:
    content: dict[str, object] = {
        "failure": failure.reason,
        "message": failure.message,
        "path": printable(failure.path),
        "size": failure.size,
        "mtime_ns": failure.mtime_ns,
        "sidecar_mtime_ns": failure.sidecar_mtime_ns,
    }
    if content["path"] != failure.path:
        content["path_bytes"] = os.fsencode(failure.path).hex()
    return Point(_id(repository, failure.path), {}, content)


def _parse_entry(point: ScoredPoint) -> LoggedFailure:
    fields = point.payload
    return LoggedFailure(
        path=spelled_path(fields),
        size=cast("int", fields["size"]),
        mtime_ns=cast("int", fields["mtime_ns"]),
        sidecar_mtime_ns=cast("int", fields["sidecar_mtime_ns"]),
        reason=str(fields["failure"]),
        message=str(fields["message"]),
    )
