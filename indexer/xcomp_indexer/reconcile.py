"""Compares what a scan found with what a repository holds: what is to be done, and what is gone.

Pure bookkeeping: it opens no file and changes nothing.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
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
    hidden = [path for path, _ in scan.unreadable]
    return [
        image
        for path, image in known.items()
        if path not in found and any(under(path, root) for root in roots) and not any(under(path, at) for at in hidden)
    ]


def removable(
    gone: Sequence[Known], scan: Scan, known: Mapping[str, Known], roots: Sequence[str]
) -> tuple[list[Known], list[Known]]:
    """Splits missing images into those that may be removed unasked and those that may not.

    A root loses nothing when it would lose over 10 % and over 20 of its images, or when it is suddenly empty: a drive
    that is not mounted looks like that.
    """
    allowed: list[Known] = []
    refused: list[Known] = []
    for root in roots:
        of_root = [image for image in gone if under(image.path, root)]
        held = sum(under(path, root) for path in known)
        many = len(of_root) > PRUNE_COUNT and len(of_root) > PRUNE_SHARE * held
        empty = not any(under(entry.path, root) for entry in scan.entries)
        (refused if many or empty else allowed).extend(of_root)
    kept = {image.id for image in refused}
    return [image for image in _once(allowed) if image.id not in kept], _once(refused)


def under(path: str, root: str) -> bool:
    """Whether a path is a root or lies below it."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _once(images: Iterable[Known]) -> list[Known]:
    return list({image.id: image for image in images}.values())
