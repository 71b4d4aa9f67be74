"""Which images a run may remove: what is gone under the given paths, unless that is suspiciously much.

Pure bookkeeping: it opens no file and changes nothing.
"""

import os
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import lru_cache

PRUNE_SHARE = 0.10  # of a root's images; above both bounds a removal must be asked for by name
PRUNE_COUNT = 20
_FOLDERS = 4096  # remembered


class Roots:
    """The paths that an ingest was given, and which of them lie above a file.

    Files under the same roots are a group; group 0 lies under none.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = frozenset(paths)
        self._numbers: dict[tuple[str, ...], int] = {(): 0}
        self._over_folder = lru_cache(_FOLDERS)(lambda folder: tuple(above(folder, self._paths)))

    def group(self, path: str) -> int:
        """Returns the group of a file."""
        own = (path,) if path in self._paths else ()
        folder = path[: path.rfind(os.sep)] or os.sep  # dirname of an absolute path, in a third of its time
        return self._numbers.setdefault(own + self._over_folder(folder), len(self._numbers))

    def of(self, group: int) -> tuple[str, ...]:
        """Returns the roots that a group lies under."""
        return next(roots for roots, number in self._numbers.items() if number == group)

    def each(self, groups: Mapping[int, int]) -> Counter[str]:
        """Sums up counts of groups by root; under several roots they count for each."""
        counts: Counter[str] = Counter()
        for roots, number in self._numbers.items():
            counts.update(dict.fromkeys(roots, groups.get(number, 0)))
        return counts


def refusing(lost: Mapping[str, int], held: Mapping[str, int], there: Mapping[str, int]) -> set[str]:
    """Returns the roots that lose nothing unasked.

    These are the ones that would lose over 10 % and over 20 of their images, or that are suddenly empty: a drive that
    is not mounted looks like that.

    Args:
        lost: images that would go, by root.
        held: images that the repository has, by root.
        there: files that were found, by root.
    """
    return {
        root
        for root, count in lost.items()
        if count and (not there.get(root) or (count > PRUNE_COUNT and count > PRUNE_SHARE * held[root]))
    }


def above(path: str, places: Container[str]) -> Iterator[str]:
    """Yields those of the places that are the path or lie above it."""
    while True:
        if path in places:
            yield path
        parent = os.path.dirname(path)  # noqa: PTH120
        if parent == path:
            return
        path = parent
