"""Checks what enters a store; every adapter does this before it calls its engine.

The embedded engine applies half of an invalid batch and stores NaN without an error, and the engines refuse different
input. A batch is therefore checked as a whole, and filters are normalised to a form that means the same on all engines.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.store import And, Filter, Ids, Match, Missing, Not, Or, Point, Range, Value, VectorQuery
from xcomp_protos.errors import InvalidRequest

BATCH = 500  # points per engine call: the embedded engine stops every thread meanwhile, a server takes 32 MB a request
NEVER = Ids(frozenset())

T = TypeVar("T")
_DEEPEST = 32  # levels of nesting in a payload
_UNIT_TOLERANCE = 1e-3
_INT64 = range(-(2**63), 2**63)
_KEY = re.compile(r'(?:[\w-]+|"[^"]+")(?:\[\])?(?:\.(?:[\w-]+|"[^"]+")(?:\[\])?)*')
_NAME = re.compile(r"[\w-][\w.-]{0,63}")
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)


@dataclass(frozen=True)
class Row:
    """A checked point in plain Python values, as the engines take them fastest."""

    id: str
    vectors: dict[str, list[float]]
    payload: dict[str, object]


def rows(points: Sequence[Point], spaces: Mapping[str, int]) -> list[Row]:
    """Checks a batch of points and turns it into plain values."""
    checked: dict[str, Row] = {}
    for point in points:
        if not is_id(point.id):
            raise InvalidRequest(f"id {point.id!r} is not a lower-case UUID")
        if point.id in checked:
            raise InvalidRequest(f"id {point.id} occurs twice in one batch: send it once")
        checked[point.id] = Row(point.id, {}, payload(point.payload))
    for space in sorted({space for point in points for space in point.vectors}):
        those = {point.id: point.vectors[space] for point in points if space in point.vectors}
        for point_id, vector in vectors(space, those, spaces).items():
            checked[point_id].vectors[space] = vector
    return list(checked.values())


def vectors(space: str, by_id: Mapping[str, NDArray[np.float32]], spaces: Mapping[str, int]) -> dict[str, list[float]]:
    """Checks unit vectors of one space and turns them into lists."""
    if not by_id:
        return {}
    for point_id, vector in by_id.items():
        _check_shape(space, vector, spaces, who=f"of {point_id}")
    matrix = np.stack([np.asarray(vector, np.float32) for vector in by_id.values()])  # [N, D]
    norms = np.linalg.norm(matrix, axis=1)
    for point_id, norm in zip(by_id, norms.tolist(), strict=True):
        if not abs(norm - 1) <= _UNIT_TOLERANCE:  # NaN as well
            raise InvalidRequest(f"vector of {point_id} in space {space!r} has length {norm:.4g}: it must be 1")
    return dict(zip(by_id, matrix.tolist(), strict=True))


def query(near: VectorQuery, spaces: Mapping[str, int]) -> list[float]:
    """Checks a search and returns its vector as a list."""
    _check_shape(near.space, near.vector, spaces, who="of the query")
    if near.limit < 0 or near.offset < 0:
        raise InvalidRequest(f"limit {near.limit} and offset {near.offset} must not be negative")
    norm = float(np.linalg.norm(near.vector))
    if not 0 < norm < math.inf:
        raise InvalidRequest(f"query vector in space {near.space!r} has length {norm}: it must be finite and above 0")
    plain: list[float] = np.asarray(near.vector, np.float32).tolist()
    return plain


def _check_shape(space: str, vector: NDArray[np.float32], spaces: Mapping[str, int], *, who: str) -> None:
    if space not in spaces:
        raise InvalidRequest(f"unknown space {space!r}: the repository has {', '.join(sorted(spaces))}")
    if np.shape(vector) != (spaces[space],):
        raise InvalidRequest(f"vector {who} has shape {np.shape(vector)}, space {space!r} takes ({spaces[space]},)")


def name(repository: str) -> str:
    """Checks the name of a repository and returns it."""
    if not _NAME.fullmatch(repository) or len(repository.encode()) > 200:  # file systems stop at 255 bytes
        raise InvalidRequest(
            f"repository name {repository!r}: use up to 64 letters, digits, '-', '_' or '.', no leading '.'"
        )
    return repository


def spaces(dimensions: Mapping[str, int]) -> None:
    """Checks the names and dimensions of new spaces."""
    if not dimensions:
        raise InvalidRequest("a repository needs at least one space")
    for space, dimension in dimensions.items():
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", space):
            raise InvalidRequest(f"space {space!r}: use 1 to 64 letters, digits, '-' or '_'")
        if not 0 < dimension <= 65536:  # the engine's own limit
            raise InvalidRequest(f"space {space!r} has dimension {dimension}: it must lie between 1 and 65536")


def is_id(text: str) -> bool:
    """Return whether a text is a UUID as the engines spell it."""
    try:
        return str(UUID(text)) == text
    except (ValueError, AttributeError, TypeError):
        return False


def known_form(ids: Sequence[str]) -> list[str]:
    """Drop repetitions and texts that cannot be an id; keep the order."""
    return [point_id for point_id in dict.fromkeys(ids) if is_id(point_id)]


def batches(items: Sequence[T]) -> Iterator[list[T]]:
    """Split a sequence into batches of `BATCH`."""
    for start in range(0, len(items), BATCH):
        yield list(items[start : start + BATCH])


def payload(mapping: Mapping[str, object]) -> dict[str, object]:
    """Copies JSON values and refuses everything else, booleans included.

    A key with the value None is left out: absent and null are the same, since REST does not transport nulls.
    """
    return {
        _text(key, "a key"): _plain(value, at=str(key), depth=1) for key, value in mapping.items() if value is not None
    }


def patch(mapping: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Checks a change of payload keys and returns what to set and which keys to remove."""
    for key in mapping:
        if not re.fullmatch(r"[\w-]+", key):
            raise InvalidRequest(f"payload key {key!r}: only plain names can be overwritten")
    return payload(mapping), [key for key, value in mapping.items() if value is None]


def _plain(value: object, *, at: str, depth: int) -> object:
    if depth > _DEEPEST:
        raise InvalidRequest(f"payload {at!r} is nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        filled = ((key, part) for key, part in value.items() if part is not None)
        return {_text(key, at): _plain(part, at=at, depth=depth + 1) for key, part in filled}
    if isinstance(value, list | tuple):
        return [_plain(part, at=at, depth=depth + 1) for part in value]
    return value if value is None else _scalar(value, at=at)


def _scalar(value: object, *, at: str) -> Value:
    if isinstance(value, str):
        return _text(value, at)
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise InvalidRequest(
        f"payload {at!r} holds {value!r}, a {type(value).__name__}: use text, 64-bit integers, finite numbers, "
        "lists and mappings, and 0 or 1 for a boolean"
    )


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"payload {at!r} has the key {value!r}: keys must be text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"payload {at!r} has text that is not Unicode: {value!r}") from None
    return value


def where(part: Filter) -> Filter:
    """Check a filter and normalise it to a form that means the same on all engines.

    Every `Match` left has values, all text or all integers, and every `Range` has bounds, all numbers or all dates.
    """
    if isinstance(part, Match):
        return _match(part)
    if isinstance(part, Range):
        return _range(part)
    if isinstance(part, Ids):
        return Ids(frozenset(known_form(sorted(part.ids))))
    if isinstance(part, Missing):
        _check_key(part.key)
    if isinstance(part, Not):
        return Not(where(part.part))
    if part == Or(()):
        return NEVER
    if isinstance(part, And | Or):
        return type(part)(tuple(where(each) for each in part.parts))
    return part


def _match(part: Match) -> Filter:
    _check_key(part.key)
    values = [_scalar(value, at=part.key) for value in part.values]
    kinds: list[Filter] = []
    for kind in (str, int):
        alike = tuple(value for value in values if isinstance(value, kind))
        kinds += [Match(part.key, alike)] if alike else []
    kinds += [Range(part.key, gte=value, lte=value) for value in values if isinstance(value, float)]
    if len(kinds) == 1:
        return kinds[0]
    return Or(tuple(kinds)) if kinds else NEVER


def _range(part: Range) -> Range:
    _check_key(part.key)
    bounds = [_scalar(bound, at=part.key) for bound in (part.gt, part.gte, part.lt, part.lte) if bound is not None]
    dates = [bound for bound in bounds if isinstance(bound, str)]
    if not bounds or len(dates) not in (0, len(bounds)):
        raise InvalidRequest(f"range over {part.key!r} needs bounds that are all numbers or all dates")
    for date in dates:
        _check_utc(date)
    return part


def _check_utc(text: str) -> None:
    try:
        valid = bool(_UTC.fullmatch(text) and datetime.fromisoformat(text[:19]))
    except ValueError:
        valid = False
    if not valid:
        raise InvalidRequest(f"{text!r} is not a date: write 2024-01-31T00:00:00Z")


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise InvalidRequest(f"{key!r} is not a payload key: put names with other characters in double quotes")
    _text(key, "a key")
