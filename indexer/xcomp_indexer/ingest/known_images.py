"""What a repository holds, in columns: some 60 bytes an image, so that an ingest can compare millions of files.

A row is found by the id that a path has in the repository, or by a content hash. It opens no file and changes nothing.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import Literal, cast
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.ingest import points
from xcomp_indexer.ingest.prune import Roots
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.repository.image_record import spelled_path
from xcomp_indexer.store import ScoredPoint

Rows = NDArray[np.int64]
Marks = NDArray[np.bool_]  # one for each row
_STATS = ("size", "mtime_ns", "sidecar_mtime_ns")
FIELDS = ("path", "path_bytes", *_STATS, "content_hash", "uploaded")
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
_KEY = "S16"  # ids and hashes, 16 bytes each


class KnownImages:
    """The images of a repository as they were when the ingest began, and the contents that it has added since.

    `found` and `gone` are the caller's marks, one for each row.
    """

    def __init__(self, repository: str, *, roots: Roots) -> None:
        self._repository = repository
        self._roots = roots
        self._draft = _Draft()
        self._added: dict[bytes, bytes] = {}  # content hash -> id
        self.settle()

    def add(self, point: ScoredPoint, *, complete: bool = True) -> None:
        """Takes in an image, from a point with `FIELDS`; `complete`: it lacks no vector.

        An upload lies under no root: no scan looks for it.
        """
        fields = point.payload
        draft = self._draft
        draft.ids += bytes.fromhex(point.id.replace("-", ""))
        draft.hashes += bytes.fromhex(str(fields["content_hash"]))
        draft.stats.extend(cast("int", fields[name]) for name in _STATS)
        draft.complete.append(complete)
        draft.groups.append(0 if "uploaded" in fields else self._roots.group(spelled_path(fields)))

    def settle(self) -> None:
        """Ends taking in."""
        draft, self._draft = self._draft, _Draft()
        ids = np.frombuffer(bytes(draft.ids), _KEY)
        order = np.argsort(ids)  # a store hands them out like that, but the columns rely on it
        self._ids = ids[order]
        self._hashes = np.frombuffer(bytes(draft.hashes), _KEY)[order]
        self._stats = np.frombuffer(draft.stats, np.int64).reshape(-1, 3)[order]
        self._complete = np.frombuffer(bytes(draft.complete), np.bool_)[order]
        self._groups = np.frombuffer(draft.groups, np.int32)[order]
        self._by_hash = np.argsort(self._hashes, kind="stable")
        self._sorted_hashes = self._hashes[self._by_hash]
        self.found = np.zeros(len(ids), np.bool_)
        self.gone = np.zeros(len(ids), np.bool_)

    def changed(self, entries: Sequence[Entry]) -> list[Entry]:
        """Returns the files that are new, incomplete, or of another stat; marks the images of all as found."""
        if not len(self._ids) or not entries:
            return list(entries)
        rows = self._rows(np.frombuffer(points.keys(self._repository, [entry.path for entry in entries]), _KEY))
        here = rows >= 0
        self.found[rows[here]] = True
        stats = np.array([entry[2:] for entry in entries], np.int64)
        same = here & self._complete[rows] & (self._stats[rows] == stats).all(axis=1)
        return [entry for entry, unchanged in zip(entries, same.tolist(), strict=True) if not unchanged]

    def row(self, path: str) -> int | None:
        """Returns the row of the image at a path."""
        row = int(self._rows(np.frombuffer(points.keys(self._repository, [path]), _KEY))[0])
        return None if row < 0 else row

    def is_touched_only(self, row: int, *, content_hash: str, sidecar_mtime_ns: int) -> bool:
        """Whether an image that is complete has this content and this sidecar, whatever the time of its file."""
        content = self._hashes[row] == np.bytes_(bytes.fromhex(content_hash))
        return bool(content and self._complete[row] and self._stats[row, 2] == sidecar_mtime_ns)

    def __contains__(self, content_hash: object) -> bool:
        """Whether there are, most likely, vectors of a content; an image may have changed since."""
        return self.holder(str(content_hash)) is not None

    def holder(self, content_hash: str) -> str | None:
        """Returns the id of an image that has the vectors of a content, or had them when it was recalled."""
        key = bytes.fromhex(content_hash)
        if key in self._added:
            return str(UUID(bytes=self._added[key]))
        rows = self._of_content(key)
        complete = rows[self._complete[rows]]
        return self.id(int(complete[0])) if len(complete) else None

    def learn(self, content_hash: str, image_id: str) -> None:
        """Notes that an image has the vectors of a content now."""
        self._added[bytes.fromhex(content_hash)] = UUID(image_id).bytes

    def orphan(self, content_hash: str) -> int | None:
        """Returns the row of an image of a content whose file is gone."""
        rows = self._of_content(bytes.fromhex(content_hash))
        gone = rows[self.gone[rows]]
        return int(gone[0]) if len(gone) else None

    def groups(self, rows: Marks | None = None) -> dict[int, int]:
        """Counts images, or those of marked rows, by the group of `Roots` that they lie under."""
        groups = self._groups if rows is None else self._groups[rows]
        found, counts = np.unique(groups, return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))

    def under(self, belongs: Callable[[int], bool]) -> Marks:
        """Marks the rows whose group is of a kind."""
        kinds = [group for group in self.groups() if belongs(group)]
        return np.isin(self._groups, kinds)

    def id(self, row: int) -> str:
        """Returns the id of a row."""
        return str(UUID(bytes=self._ids[row].ljust(16, b"\0")))  # numpy cuts zeros off the end

    def ids(self, marked: Marks) -> list[str]:
        """Returns the ids of marked rows."""
        return [self.id(row) for row in np.flatnonzero(marked).tolist()]

    def _rows(self, keys: NDArray[np.bytes_]) -> Rows:
        """Returns the row of each key, -1 where there is none."""
        if not len(self._ids):
            return np.full(len(keys), -1)
        rows = np.minimum(np.searchsorted(self._ids, keys), len(self._ids) - 1)
        return np.where(self._ids[rows] == keys, rows, -1)

    def _of_content(self, key: bytes) -> Rows:
        content = np.frombuffer(key, _KEY)
        begin, end = (int(np.searchsorted(self._sorted_hashes, content, side)[0]) for side in _SIDES)
        return self._by_hash[begin:end]


class _Draft:
    """Columns that still grow."""

    def __init__(self) -> None:
        self.ids, self.hashes = bytearray(), bytearray()
        self.stats, self.groups = array("q"), array("i")
        self.complete = bytearray()
