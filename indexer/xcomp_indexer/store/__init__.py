"""The seam of the vector stores: points of one repository, searched by space.

One store holds one repository. Adapters beside this file speak to an engine; nothing of an engine leaves them. The
store knows vectors and payloads; it knows no files and no models.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Value = str | int | float
Payload = Mapping[str, object]  # JSON values; no booleans (the embedded engine cannot match them): use 0 and 1


@dataclass(frozen=True)
class Match:
    """The field holds one of `values`, or, being a list, contains one of them."""

    key: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Range:
    """The field lies between bounds; unset ones are open. Strings are RFC 3339 dates in UTC."""

    key: str
    gt: Value | None = None
    gte: Value | None = None
    lt: Value | None = None
    lte: Value | None = None


@dataclass(frozen=True)
class Ids:
    """The point has one of these ids."""

    ids: frozenset[str]


@dataclass(frozen=True)
class Missing:
    """The field is absent or empty."""

    key: str


@dataclass(frozen=True)
class Not:
    """The filter does not hold."""

    part: "Filter"


@dataclass(frozen=True)
class And:
    """All hold; none at all holds always."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Or:
    """At least one holds; none at all holds never."""

    parts: tuple["Filter", ...]


Filter = Match | Range | Ids | Missing | Not | And | Or


@dataclass(frozen=True)
class Point:
    """One image in the store. Vectors are of unit length and finite, by name of their space."""

    id: str
    vectors: Mapping[str, NDArray[np.float32]]  # each [D]
    payload: Payload


@dataclass(frozen=True)
class Found:
    """A point that a search or a scan returned."""

    id: str
    score: float
    payload: Payload
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Near:
    """The nearest points to a vector in one space."""

    space: str
    vector: NDArray[np.float32]  # [D]
    limit: int
    where: Filter | None = None
    offset: int = 0
    minimum: float | None = None  # cosine similarity below which nothing is returned


class Store(Protocol):
    """The points of one repository. Safe to call from several threads; writes are visible when they return."""

    def spaces(self) -> Mapping[str, int]:
        """Names and dimensions of the spaces it holds."""

    def add_space(self, name: str, dimension: int) -> None:
        """Adds a space to a live store; the points have no vector in it yet. A no-op if it is there."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Writes whole points, replacing those with the same id. All of them or none.

        Raises:
            InvalidRequest: a vector of an unknown space, a wrong width, not finite, or no unit length.
        """

    def set_payload(self, ids: Sequence[str], patch: Payload) -> None:
        """Overwrites single payload keys of existing points; unknown ids are ignored."""

    def set_vectors(self, space: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Writes one space's vectors of existing points and leaves their others; unknown ids are ignored."""

    def delete(self, ids: Sequence[str]) -> None:
        """Removes points; unknown ids are ignored."""

    def near(self, queries: Sequence[Near]) -> list[list[Found]]:
        """Answers each query: best first, equal scores by id."""

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[Found]:
        """Returns the points that exist, in the order of `ids`."""

    def scan(
        self, *, fields: Sequence[str] | None = None, where: Filter | None = None, vectors: bool = False
    ) -> Iterator[Found]:
        """Goes through all points in the order of their ids; `fields` limits the payload, None means all of it."""

    def count(self, where: Filter | None = None) -> int:
        """Counts points exactly."""

    def flush(self) -> None:
        """Makes what was written survive a power cut."""

    def close(self) -> None:
        """Lets go of files and connections; the store is unusable afterwards."""
