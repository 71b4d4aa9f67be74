"""Conditions on points, the same for all engines; `validate.where` normalises them.

Keys are paths into the payload: a dot descends, and a name with other characters than letters, digits, `-` and `_`
is put in double quotes (`metadata."exif.iso"`).
"""

from dataclasses import dataclass

Value = str | int | float


@dataclass(frozen=True)
class Match:
    """The field is one of `values`, or a list that contains one of them.

    Whole numbers match whole numbers; a float matches any number of its value.
    """

    key: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Range:
    """The field lies between bounds; unset bounds are open. Strings are RFC 3339 dates in UTC."""

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
class InSpace:
    """The point has a vector in this space."""

    space: str


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
    """All parts hold; always true without parts."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Or:
    """At least one part holds; never true without parts."""

    parts: tuple["Filter", ...]


Filter = Match | Range | Ids | InSpace | Missing | Not | And | Or
