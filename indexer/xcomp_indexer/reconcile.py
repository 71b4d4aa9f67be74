"""Compares what a scan found with what a repository holds: what is to be done, and what is gone.

Pure bookkeeping: it opens no file and changes nothing.
"""

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xcomp_indexer.scan import Entry, Scan

PRUNE_SHARE = 0.10  # of a root's images; above both bounds a removal must be asked for by name
PRUNE_COUNT = 20


@dataclass(frozen=True)
class Known:
    """An image as the repository has it."""

    id: str
    path: str  # as the os module spells it
    size: int
    mtime_ns: int
    sidecar_mtime_ns: int
    content_hash: str
    complete: bool  # has a vector in every space

    def unchanged(self, entry: Entry) -> bool:
        """Whether a file's stat says that nothing was touched since."""
        stats = (entry.size, entry.mtime_ns, entry.sidecar_mtime_ns)
        return self.complete and stats == (self.size, self.mtime_ns, self.sidecar_mtime_ns)


def changed(entries: Iterable[Entry], known: Mapping[str, Known]) -> list[Entry]:
    """Returns the files that are new or whose stat differs."""
    return [entry for entry in entries if not (entry.path in known and known[entry.path].unchanged(entry))]


def missing(scan: Scan, known: Mapping[str, Known], roots: Sequence[str]) -> list[Known]:
    """Returns known images under the roots that the scan did not find, in places it could read."""
    found = {entry.path for entry in scan.entries}
    hidden = {path for path, _ in scan.unreadable}
    places = frozenset(roots)
    return [
        image
        for path, image in known.items()
        if path not in found and any(above(path, places)) and not any(above(path, hidden))
    ]


def removable(
    gone: Sequence[Known], scan: Scan, known: Mapping[str, Known], roots: Sequence[str]
) -> tuple[list[Known], list[Known]]:
    """Splits missing images into those that may be removed unasked and those that may not.

    A root loses nothing when it would lose over 10 % and over 20 of its images, or when it is suddenly empty: a drive
    that is not mounted looks like that.
    """
    lost = _per_root((image.path for image in gone), roots)
    held = _per_root(known, roots)
    full = _per_root((entry.path for entry in scan.entries), roots)
    suspicious = {
        root
        for root, count in lost.items()
        if not full[root] or (count > PRUNE_COUNT and count > PRUNE_SHARE * held[root])
    }
    allowed: list[Known] = []
    refused: list[Known] = []
    for image in gone:
        (refused if any(above(image.path, suspicious)) else allowed).append(image)
    return allowed, refused


def above(path: str, places: Container[str]) -> Iterator[str]:
    """Yields those of the places that are the path or lie above it."""
    while True:
        if path in places:
            yield path
        parent = os.path.dirname(path)  # noqa: PTH120  # a hot path, and strings are what the scan gives
        if parent == path:
            return
        path = parent


def _per_root(paths: Iterable[str], roots: Sequence[str]) -> Counter[str]:
    """Counts paths by the root above them; under several roots they count for each."""
    places = frozenset(roots)
    return Counter(root for path in paths for root in above(path, places))
