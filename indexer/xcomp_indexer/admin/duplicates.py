"""Finds duplicates in a repository: copies of the same bytes, and other encodings of the same image.

Vectors are not enough: those of a re-encoded copy may differ more than those of two frames of a series. The neighbours
of each image are therefore candidates, and pixels decide: an 8 by 8 thumbnail in colour, and 64 signs that say where
brightness increases from left to right (a difference hash, as described by N. Krawetz). The cost is one search per
image, and reading the file of each candidate.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer.images.decode import decode
from xcomp_indexer.repository.image_record import IMAGES
from xcomp_indexer.repository.visibility import now, offered_filter
from xcomp_indexer.store import And, InSpace, ScoredPoint, Store, VectorQuery
from xcomp_protos.errors import XcompError

ALIKE = 0.9  # least cosine of a candidate
NEIGHBOURS = 16  # candidates per image, at most
SIGNS = 8  # of 64 that may differ; in the demonstration copies differ in at most 8, other pairs in 13 or more
LEVELS = 12.0  # of 255; largest mean difference of two thumbnails
_SEARCHED_AT_ONCE = 32
_SIDE = 8


@dataclass(frozen=True)
class Signature:
    """The coarse look of an image."""

    signs: NDArray[np.bool_]  # [64]
    colours: NDArray[np.float32]  # [8, 8, 3], 0..255

    def distance(self, other: "Signature") -> int:
        """Returns how many signs differ, 0..64."""
        return int(np.count_nonzero(self.signs != other.signs))

    def is_same(self, other: "Signature") -> bool:
        """Whether both belong to the same image."""
        difference = float(np.abs(self.colours - other.colours).mean())
        return self.distance(other) <= SIGNS and difference <= LEVELS


@dataclass(frozen=True)
class Duplicate:
    """An image of a group, compared with the first one."""

    image: ScoredPoint
    similarity: float  # cosine to the first
    distance: int  # signs that differ from the first, 0..64


@dataclass(frozen=True)
class Group:
    """Duplicates of one image, the largest first."""

    copies: bool  # all have the same bytes
    images: Sequence[Duplicate]


@dataclass(frozen=True)
class Compared:
    """Progress of the comparison."""

    done: int
    total: int


@dataclass(frozen=True)
class DuplicateReport:
    """The result, the last event."""

    images: int
    groups: int
    unread: int  # candidates whose file could not be read


Event = Compared | Group | DuplicateReport


class Comparison:
    """One comparison of all images of a store in one space.

    Args:
        read: returns the bytes of an image's file, or raises an `XcompError`.
    """

    def __init__(
        self, store: Store, space: str, read: Callable[[ScoredPoint], bytes], *, alike: float, allow_restricted: bool
    ) -> None:
        self._store, self._space, self._read, self._alike = store, space, read, alike
        self._where = And((IMAGES, InSpace(space), *(() if allow_restricted else (offered_filter(now()),))))
        self._signatures: dict[str, Signature | None] = {}  # by content; None: the file cannot be read
        self._leader: dict[str, str] = {}  # by content: another content of the same image

    def run(self) -> Iterator[Event]:
        """Yields progress, then the groups, then the report."""
        ids: dict[str, list[str]] = {}  # by content
        total, done = self._store.count(self._where), 0
        points = self._store.scan(where=self._where, vectors=True)
        while page := list(islice(points, _SEARCHED_AT_ONCE)):
            fresh = [point for point in page if _content(point) not in ids]
            for point in page:
                ids.setdefault(_content(point), []).append(point.id)
            self._compare(fresh)
            done += len(page)
            yield Compared(done, max(done, total))
        groups = 0
        for group in self._groups(ids):
            groups += 1
            yield group
        yield DuplicateReport(done, groups, sum(each is None for each in self._signatures.values()))

    def _compare(self, points: Sequence[ScoredPoint]) -> None:
        queries = [
            VectorQuery(
                self._space, point.vectors[self._space], NEIGHBOURS, where=self._where, score_threshold=self._alike
            )
            for point in points
        ]
        for point, found in zip(points, self._store.near(queries), strict=True):
            for other in found:
                if self._leader_of(_content(point)) != self._leader_of(_content(other)) and self._is_same(point, other):
                    self._leader[self._leader_of(_content(other))] = self._leader_of(_content(point))

    def _is_same(self, one: ScoredPoint, other: ScoredPoint) -> bool:
        first = self._signature(one)
        second = self._signature(other) if first else None
        return bool(first and second and first.is_same(second))

    def _signature(self, point: ScoredPoint) -> Signature | None:
        content = _content(point)
        if content not in self._signatures:
            try:
                self._signatures[content] = signature(decode(self._read(point), image_size=4 * _SIDE).image)
            except XcompError:
                self._signatures[content] = None
        return self._signatures[content]

    def _leader_of(self, content: str) -> str:
        while content in self._leader:
            content = self._leader[content]
        return content

    def _groups(self, ids: dict[str, list[str]]) -> Iterator[Group]:
        contents: dict[str, list[str]] = {}
        for content in ids:
            contents.setdefault(self._leader_of(content), []).append(content)
        for alike in contents.values():
            members = [each for content in alike for each in ids[content]]
            points = self._reload(members, set(alike)) if len(members) > 1 else []
            if len(points) > 1:
                yield self._group(points)

    def _reload(self, ids: Sequence[str], contents: Set[str]) -> list[ScoredPoint]:
        """Reads images again, and drops those whose content changed during the comparison."""
        points = self._store.get(ids, vectors=True)
        return [
            point for point in points if point.payload.get("content_hash") in contents and self._space in point.vectors
        ]

    def _group(self, points: Sequence[ScoredPoint]) -> Group:
        copies = len(set(map(_content, points))) == 1
        best, *others = sorted(points, key=_largest_first)
        return Group(
            copies,
            [
                Duplicate(point, _cosine(best, point, self._space), 0 if copies else self._distance(best, point))
                for point in (best, *others)
            ],
        )

    def _distance(self, one: ScoredPoint, other: ScoredPoint) -> int:
        first, second = self._signatures[_content(one)], self._signatures[_content(other)]
        return first.distance(second) if first and second else 0  # the same bytes


def signature(image: Image.Image) -> Signature:
    """Returns the signature of an RGB image."""
    grey = np.asarray(image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX), dtype=np.int16)
    colours = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32)
    return Signature((grey[:, 1:] > grey[:, :-1]).ravel(), colours)


def _content(point: ScoredPoint) -> str:
    return str(point.payload["content_hash"])


def _cosine(one: ScoredPoint, other: ScoredPoint, space: str) -> float:
    return min(1.0, float(one.vectors[space] @ other.vectors[space]))  # float32 may be slightly above


def _largest_first(point: ScoredPoint) -> tuple[int, str]:
    width, height = point.payload["width"], point.payload["height"]
    assert isinstance(width, int)
    assert isinstance(height, int)
    return -width * height, str(point.payload["path"])
