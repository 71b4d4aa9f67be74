"""Decides which images an ingest may remove: those that are missing under its paths, unless suspiciously many are.

Opens no files and writes nothing.
"""

import os
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import lru_cache

PRUNE_SHARE = 0.10  # of the images of a root; a removal above both bounds must be requested
PRUNE_COUNT = 20
_FOLDERS = 4096  # in the cache


class Roots:
    """The paths of an ingest, and which of them contain a file.

    Files under the same roots are a group; group 0 is under no root.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = frozenset(paths)
        self._numbers: dict[tuple[str, ...], int] = {(): 0}
        self._roots_of_folder = lru_cache(_FOLDERS)(lambda folder: tuple(ancestors_in(folder, self._paths)))

    def group(self, path: str) -> int:
        """Returns the group of a file."""
        own = (path,) if path in self._paths else ()
        folder = path[: path.rfind(os.sep)] or os.sep  # dirname of an absolute path, in a third of its time
        return self._numbers.setdefault(own + self._roots_of_folder(folder), len(self._numbers))

    def roots_of(self, group: int) -> tuple[str, ...]:
        """Returns the roots of a group."""
        return next(roots for roots, number in self._numbers.items() if number == group)

    def count_by_root(self, groups: Mapping[int, int]) -> Counter[str]:
        """Returns counts of groups as counts of roots; a file under several roots counts for each."""
        counts: Counter[str] = Counter()
        for roots, number in self._numbers.items():
            counts.update(dict.fromkeys(roots, groups.get(number, 0)))
        return counts


def choose_protected_roots(
    *, missing: Mapping[str, int], known: Mapping[str, int], present: Mapping[str, int]
) -> set[str]:
    """Returns the roots whose missing images are removed only on request.

    These would lose over 10 % and over 20 of their images, or they are suddenly empty, as is a drive without mount.

    Args:
        missing: images that would be removed, by root.
        known: images of the repository, by root.
        present: files that were found, by root.
    """
    return {
        root
        for root, count in missing.items()
        if count and (not present.get(root) or (count > PRUNE_COUNT and count > PRUNE_SHARE * known[root]))
    }


def ancestors_in(path: str, paths: Container[str]) -> Iterator[str]:
    """Yields those of `paths` that are the path itself or one of its parent folders."""
    while True:
        if path in paths:
            yield path
        parent = os.path.dirname(path)  # noqa: PTH120
        if parent == path:
            return
        path = parent
