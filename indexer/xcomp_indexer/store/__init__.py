"""The interface of the vector stores: points of one repository, searched by space.

One store holds one repository. Adapters in sub-packages call an engine; no type of an engine leaves them. A store has
vectors and payloads and does not depend on files or models. `repository/image_record.py` defines the payload of an
image; `factory.py` finds the adapter for an address.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.store.filters import And, Filter, Ids, InSpace, Match, Missing, Not, Or, Range, Value

__all__ = [
    "INDEXES",
    "And",
    "Filter",
    "Ids",
    "InSpace",
    "IndexKind",
    "Match",
    "Meta",
    "Missing",
    "Not",
    "Or",
    "Payload",
    "Point",
    "Range",
    "ScoredPoint",
    "Snapshot",
    "Step",
    "Store",
    "Stores",
    "Value",
    "VectorQuery",
]  # fmt: skip

# JSON values, where null is the same as absent; no booleans (the embedded engine cannot match them): use 0 and 1.
Payload = Mapping[str, object]
Meta = Mapping[str, object]  # the same kind of values, about the repository as a whole
IndexKind = Literal["keyword", "integer", "float", "datetime"]

# The payload keys with an index (see `filter_parser.py`); other keys are filtered without one.
INDEXES: Mapping[str, IndexKind] = {
    "dirs": "keyword",
    "folder": "keyword",
    "file": "keyword",
    "suffix": "keyword",
    "content_hash": "keyword",
    "size": "integer",
    "width": "integer",
    "height": "integer",
    "orientation": "keyword",
    "gps.lat": "float",
    "gps.lon": "float",
    "date": "datetime",
    "tags": "keyword",
    "rights": "keyword",
    "creator": "keyword",
    "restricted": "integer",
    "failure": "keyword",
    "expires": "datetime",
    "embargo": "datetime",
    "date_last": "datetime",
}


@dataclass(frozen=True)
class Point:
    """One image in the store. Vectors are of unit length and finite, by name of their space."""

    id: str
    vectors: Mapping[str, NDArray[np.float32]]  # each [D]
    payload: Payload


class ScoredPoint(NamedTuple):
    """A point that a search or a scan returned. Scores are cosine similarities, rounded to six decimals."""

    id: str
    score: float
    payload: Payload
    vectors: Mapping[str, NDArray[np.float32]] = MappingProxyType({})


@dataclass(frozen=True)
class VectorQuery:
    """The nearest points to a vector in one space."""

    space: str
    vector: NDArray[np.float32]  # [D]
    limit: int
    where: Filter | None = None
    offset: int = 0
    score_threshold: float | None = None  # cosine similarity below which nothing is returned
    exact: bool = False  # compare with every vector, whatever index there is: slow, for evaluations
    payload_limit: int | None = None  # hits with payload, the first ones; others may come without; None: all
    stable_order: bool = True  # order equal scores at the cut by id, whatever that costs; else by chance


@dataclass(frozen=True)
class Step:
    """A step of a rebuild that begins or goes on."""

    name: str  # copy, build, carry over, clean up
    seconds: float  # since the start


@dataclass(frozen=True)
class Snapshot:
    """A copy of a repository that its store keeps."""

    name: str
    created: str = ""  # RFC 3339, UTC
    size_bytes: int = 0  # 0: unknown


class Store(Protocol):
    """The points of one repository. Safe to call from several threads; writes are visible when they return."""

    def spaces(self) -> Mapping[str, int]:
        """Return the names and dimensions of its spaces."""

    def add_space(self, name: str, dimension: int) -> None:
        """Add a space while the store serves; no point has a vector in it yet. A no-op if it exists."""

    def drop_space(self, name: str) -> None:
        """Remove a space with all its vectors while the store serves; the points stay. A no-op if it does not exist."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Writes whole points, replacing those with the same id; none of them if one is invalid.

        A crash leaves at most the first `BATCH`, `2 * BATCH`, … of them written.

        Raises:
            InvalidRequest: a vector of an unknown space or a wrong dimension, not finite, or not of unit length; an id
                that is not a canonical UUID or occurs twice; a payload that is not JSON or has a boolean.
        """

    def set_payload(self, ids: Sequence[str], patch: Payload) -> None:
        """Overwrites single payload keys of existing points, None removes one; unknown ids are ignored."""

    def set_vectors(self, space: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Writes one space's vectors of existing points and leaves their others; unknown ids are ignored."""

    def delete(self, ids: Sequence[str]) -> None:
        """Removes points; unknown ids are ignored."""

    def near(self, queries: Sequence[VectorQuery]) -> list[list[ScoredPoint]]:
        """Answers each query: best first, equal scores by id."""

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[ScoredPoint]:
        """Returns the points that exist, in the order of `ids`."""

    def scan(
        self,
        *,
        fields: Sequence[str] | None = None,
        where: Filter | None = None,
        vectors: bool = False,
        after: str | None = None,
    ) -> Iterator[ScoredPoint]:
        """Goes through all points in the order of their ids, or those after one id, whether it is there or not.

        `fields` limits the payload, None means all of it.
        """

    def count(self, where: Filter | None = None) -> int:
        """Counts points exactly."""

    def meta(self) -> Meta:
        """Return the record that the repository layer keeps beside the vectors."""

    def set_meta(self, patch: Meta) -> None:
        """Overwrites single keys of `meta`, None removes one. Survives a power cut when it returns."""

    def size_bytes(self) -> int:
        """Space taken on disk, holes of sparse files left out; 0 where the disk is not ours."""

    def backlog(self) -> float:
        """Return the number of unsealed points divided by the sealing threshold; seal when it is 1 or more."""

    def seal(self) -> Generator[Step, None, None]:
        """Move what was written from memory to disk while it serves; like `optimize`, but fast."""

    def wants_optimizing(self) -> bool:
        """Return whether `optimize` would make searches faster."""

    def optimize(self) -> Generator[Step, None, None]:
        """Rebuild the store for fast search at its current size while it serves; closing the generator cancels it.

        Yields nothing where a server does this by itself.

        Raises:
            Conflict: a rebuild is running already.
            Exhausted: the disk has not enough room.
            Unavailable: it failed; the repository is unchanged.
        """

    def snapshot(self) -> Snapshot:
        """Take a snapshot where the store keeps them; docs/repositories.md says how to restore one.

        Raises:
            InvalidRequest: this store keeps no snapshots.
            Exhausted: the disk has not enough room.
        """

    def snapshots(self) -> list[Snapshot]:
        """Names the snapshots of this repository, the oldest first."""

    def flush(self) -> None:
        """Make what was written survive a power cut."""

    def close(self) -> None:
        """Release files and connections; the store cannot be used afterwards."""


class Stores(Protocol):
    """All repositories at one address."""

    @property
    def place(self) -> str:
        """The address, for messages; without secrets."""

    def names(self) -> list[str]:
        """Names of the repositories, sorted."""

    def exists(self, name: str) -> bool:
        """Return whether there is such a repository."""

    def create(self, name: str, spaces: Mapping[str, int]) -> Store:
        """Creates a repository with at least one space, by name and dimension, and opens it.

        Raises:
            InvalidRequest: the name is not valid, or there is no space.
            Conflict: it exists already, or another process has it open.
        """

    def open(self, name: str) -> Store:
        """Opens a repository.

        Raises:
            NotFound: there is no such repository.
            Conflict: another process has it open, or a newer version wrote it.
            Unavailable: the engine or the server does not answer.
        """

    def drop(self, name: str) -> None:
        """Remove a repository and all its vectors; must not be called while this process has it open.

        Raises:
            NotFound: there is no such repository.
            Conflict: a process has it open.
        """

    def close(self) -> None:
        """Release connections. The callers of `open` and `create` close their stores."""
