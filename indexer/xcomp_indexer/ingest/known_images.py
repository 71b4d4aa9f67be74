"""The images of a repository in columns, about 60 bytes per image, so that an ingest can compare millions of files.

A row is found by the id that a path has in the repository, or by a content hash. This file opens no files and writes
nothing.
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
    """The images of a repository when the ingest began, and the contents that it has added since.

    `present` and `missing` are marks of the caller, one for each row.
    """

    def __init__(self, repository: str, *, roots: Roots) -> None:
        self._repository = repository
        self._roots = roots
        self._draft = _Draft()
        self._added: dict[bytes, bytes] = {}  # content hash -> id
        self.freeze()

    def add(self, point: ScoredPoint, *, complete: bool = True) -> None:
        """Adds an image from a point with `FIELDS`; `complete` says that it has all vectors.

        An upload belongs to no root, because no scan finds it.
        """
        fields = point.payload
        draft = self._draft
        draft.ids += bytes.fromhex(point.id.replace("-", ""))
        draft.hashes += bytes.fromhex(str(fields["content_hash"]))
        draft.stats.extend(cast("int", fields[name]) for name in _STATS)
        draft.complete.append(complete)
        draft.groups.append(0 if "uploaded" in fields else self._roots.group(spelled_path(fields)))

    def freeze(self) -> None:
        """Builds the columns after the last `add`."""
        draft, self._draft = self._draft, _Draft()
        ids = np.frombuffer(bytes(draft.ids), _KEY)
        order = np.argsort(ids)  # the columns must be sorted, whatever the order of the store
        self._ids = ids[order]
        self._hashes = np.frombuffer(bytes(draft.hashes), _KEY)[order]
        self._stats = np.frombuffer(draft.stats, np.int64).reshape(-1, 3)[order]
        self._complete = np.frombuffer(bytes(draft.complete), np.bool_)[order]
        self._groups = np.frombuffer(draft.groups, np.int32)[order]
        self._by_hash = np.argsort(self._hashes, kind="stable")
        self._sorted_hashes = self._hashes[self._by_hash]
        self.present = np.zeros(len(ids), np.bool_)
        self.missing = np.zeros(len(ids), np.bool_)

    def select_changes(self, entries: Sequence[Entry]) -> list[Entry]:
        """Returns the files that are new, incomplete, or have another stat; marks the images of all as present."""
        if not len(self._ids) or not entries:
            return list(entries)
        rows = self._rows(np.frombuffer(points.id_bytes(self._repository, [entry.path for entry in entries]), _KEY))
        known = rows >= 0
        self.present[rows[known]] = True
        stats = np.array([entry[2:5] for entry in entries], np.int64)
        same = known & self._complete[rows] & (self._stats[rows] == stats).all(axis=1)
        return [entry for entry, unchanged in zip(entries, same.tolist(), strict=True) if not unchanged]

    def row(self, path: str) -> int | None:
        """Returns the row of the image at a path."""
        row = int(self._rows(np.frombuffer(points.id_bytes(self._repository, [path]), _KEY))[0])
        return None if row < 0 else row

    def is_touched_only(self, row: int, *, content_hash: str, sidecar_mtime_ns: int) -> bool:
        """Whether a complete image has this content and this sidecar, so that only the time of its file differs."""
        content = self._hashes[row] == np.bytes_(bytes.fromhex(content_hash))
        return bool(content and self._complete[row] and self._stats[row, 2] == sidecar_mtime_ns)

    def __contains__(self, content_hash: object) -> bool:
        """Whether an image probably has vectors of a content; it may have changed since."""
        return self.holder(str(content_hash)) is not None

    def holder(self, content_hash: str) -> str | None:
        """Returns the id of an image that has the vectors of a content, or had them when the ingest began."""
        key = bytes.fromhex(content_hash)
        if key in self._added:
            return str(UUID(bytes=self._added[key]))
        rows = self._rows_of_content(key)
        complete = rows[self._complete[rows]]
        return self.id(int(complete[0])) if len(complete) else None

    def add_content(self, content_hash: str, image_id: str) -> None:
        """Records that an image now has the vectors of a content."""
        self._added[bytes.fromhex(content_hash)] = UUID(image_id).bytes

    def orphan(self, content_hash: str) -> int | None:
        """Returns the row of an image with a content whose file is missing."""
        rows = self._rows_of_content(bytes.fromhex(content_hash))
        missing = rows[self.missing[rows]]
        return int(missing[0]) if len(missing) else None

    def groups(self, rows: Marks | None = None) -> dict[int, int]:
        """Returns the number of images, or of marked rows, by their group of `Roots`."""
        groups = self._groups if rows is None else self._groups[rows]
        numbers, counts = np.unique(groups, return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))

    def mark_groups(self, belongs: Callable[[int], bool]) -> Marks:
        """Marks the rows of the groups for which `belongs` is true."""
        kinds = [group for group in self.groups() if belongs(group)]
        return np.isin(self._groups, kinds)

    def id(self, row: int) -> str:
        """Returns the id of a row."""
        return str(UUID(bytes=self._ids[row].ljust(16, b"\0")))  # numpy cuts trailing zeros

    def ids(self, marked: Marks) -> list[str]:
        """Returns the ids of marked rows."""
        return [self.id(row) for row in np.flatnonzero(marked).tolist()]

    def _rows(self, keys: NDArray[np.bytes_]) -> Rows:
        """Returns the row of each key, or -1."""
        if not len(self._ids):
            return np.full(len(keys), -1)
        rows = np.minimum(np.searchsorted(self._ids, keys), len(self._ids) - 1)
        return np.where(self._ids[rows] == keys, rows, -1)

    def _rows_of_content(self, key: bytes) -> Rows:
        content = np.frombuffer(key, _KEY)
        begin, end = (int(np.searchsorted(self._sorted_hashes, content, side)[0]) for side in _SIDES)
        return self._by_hash[begin:end]


class _Draft:
    """Columns while images are added."""

    def __init__(self) -> None:
        self.ids, self.hashes = bytearray(), bytearray()
        self.stats, self.groups = array("q"), array("i")
        self.complete = bytearray()
