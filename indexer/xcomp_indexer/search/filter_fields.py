"""The fields that filter expressions can name, and the condition that each comparison becomes.

Every comparison becomes an exact condition on the payload that `image_record.py` describes, or is refused; nothing
is matched approximately. Values are never interpreted as code. `filter_parser.py` has the grammar.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from xcomp_indexer.repository.image_record import fold, utc
from xcomp_indexer.store import And, Filter, Match, Not, Or, Range, Value

EVERYTHING = And(())

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,9})?", re.ASCII)
_ENDING = re.compile(r"\*(\.[^.*/]+)")


@dataclass(frozen=True)
class Field:
    """A field of filter expressions."""

    operators: tuple[str, ...]
    meaning: str  # one line for the documentation
    compile: Callable[[str, str], Filter]  # operator and value to a filter; ValueError says what is wrong


def field(name: str) -> Field:
    """Returns the field of that name, `meta.KEY` included.

    Raises:
        ValueError: there is no such field; the message lists all fields.
    """
    if name in FIELDS:
        return FIELDS[name]
    root, _, key = name.partition(".")
    if root == "meta" and key:
        return _meta(key)
    raise ValueError(f"unknown field {name!r}: use {', '.join(FIELDS)}, or meta.KEY for a key of the metadata")


def _words(key: str, meaning: str) -> Field:
    def compile_filter(operator: str, value: str) -> Filter:
        return _negate_if_unequal(operator, Match(key, (fold(value),)))

    return Field(("=", "!="), meaning, compile_filter)


def _numbers(key: str, meaning: str) -> Field:
    def compile_filter(operator: str, value: str) -> Filter:
        if not _NUMBER.fullmatch(value) or "." in value:
            raise ValueError(f"{value!r} is not a whole number")
        return _compare(key, operator, int(value))

    return Field(_ALL, meaning, compile_filter)


def _degrees(key: str, meaning: str) -> Field:
    def compile_filter(operator: str, value: str) -> Filter:
        if not _NUMBER.fullmatch(value):
            raise ValueError(f"{value!r} is not a number: write degrees as in 52.5163")
        return _compare(key, operator, float(value))

    return Field(_ALL, meaning, compile_filter)


def _dates(key: str, meaning: str) -> Field:
    def compile_filter(operator: str, value: str) -> Filter:
        start, end = _period(value)
        ranges: dict[str, Filter] = {
            "=": And((Range(key, gte=start), _ends_before(key, end))),
            ">=": Range(key, gte=start),
            ">": Range(key, gte=end),
            "<=": _ends_before(key, end),
            "<": _ends_before(key, start),
        }
        return _negate_if_unequal(operator, ranges["=" if operator == "!=" else operator])

    return Field(_ALL, meaning, compile_filter)


def _ends_before(key: str, moment: str) -> Filter:
    """Returns a filter for dates, and for years and months as a whole, before a moment."""
    return And((Range(key, lt=moment), Not(Range(f"{key}_last", gte=moment))))


def _meta(path: str) -> Field:
    parts = re.findall(r'"([^"]+)"|([^."]+)', path)
    key = "metadata." + ".".join(f'"{quoted or plain}"' for quoted, plain in parts)
    if len(parts) > 1 and '"' not in path:  # a key with dots; the values of the metadata are not nested
        key = f'metadata."{path}"'

    def compile_filter(operator: str, value: str) -> Filter:
        number = _meta_number(value)
        if operator in ("=", "!="):
            either: tuple[Value, ...] = (value,) if number is None else (value, number)
            return _negate_if_unequal(operator, Match(key, either))
        if number is None:
            raise ValueError(f"{value!r} is not a number: texts of the metadata are compared with = or !=")
        return _compare(key, operator, number)

    return Field(_ALL, "a key of the metadata: its exact text, or a number", compile_filter)


def _meta_number(value: str) -> float | None:
    if value in ("true", "false"):  # the store keeps booleans as 1 and 0
        return float(value == "true")
    return float(value) if _NUMBER.fullmatch(value) else None


def _compare(key: str, operator: str, number: float) -> Filter:
    if operator in ("=", "!="):
        return _negate_if_unequal(operator, Match(key, (number,)))
    bound = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}[operator]
    return Range(key, **{bound: number})


def _negate_if_unequal(operator: str, part: Filter) -> Filter:
    return Not(part) if operator == "!=" else part


def _period(text: str) -> tuple[str, str]:
    """Returns the start and the end of the year, month, day, minute or second that a text names."""
    match = _DATE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a date: write 2024, 2024-01, 2024-01-31 or 2024-01-31T18:00Z")
    year, month, day, hour, minute, second = (int(part) if part else None for part in match.groups()[:6])
    zone = datetime.fromisoformat(f"2000-01-01T00:00:00{match[7] or 'Z'}").tzinfo
    try:
        start = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0, tzinfo=zone or UTC)
        if day is not None:
            known = (hour is None, minute is None, second is None)
            length = {3: timedelta(days=1), 1: timedelta(minutes=1), 0: timedelta(seconds=1)}[sum(known)]
            return utc(start), utc(start + length)
        end = start.replace(year=start.year + 1) if month in (None, 12) else start.replace(month=start.month + 1)
        return utc(start), utc(end.replace(month=1) if month == 12 else end)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a date: {error}") from None


def _orientation(operator: str, value: str) -> Filter:
    if fold(value) not in ("landscape", "portrait", "square"):
        raise ValueError(f"{value!r} is not an orientation: write landscape, portrait or square")
    return _negate_if_unequal(operator, Match("orientation", (fold(value),)))


def _camera(operator: str, value: str) -> Filter:
    return _negate_if_unequal(operator, Match('metadata."camera"', (value,)))


def _path(_: str, pattern: str) -> Filter:
    """Compiles a glob over paths: below the indexed root, or absolute with a leading slash."""
    if "?" in pattern:
        raise ValueError(f"{pattern!r}: paths are matched by * and ** only")
    if not pattern:
        raise ValueError("a path is empty: write ** for everything")
    parts = unicodedata.normalize("NFC", pattern).removeprefix("./").split("/")
    *folders, name = [*parts[:-1], parts[-1] or "**"]  # "trips/" is all below it
    deep = bool(folders) and folders[-1] == "**"
    head = "/".join(folders[:-1] if deep else folders)
    if "*" in head or "" in folders[1:] or ".." in parts:
        raise ValueError(
            f"{pattern!r} cannot be matched exactly: write whole folders, "
            "then one of **, *, *.jpg, **/*.jpg, NAME, **/NAME"
        )
    if pattern.startswith("/") and not head:
        head = "/"
    below = Match("dirs", (head,)) if head else EVERYTHING
    inside = below if deep or name == "**" else Match("folder", (head,))
    return _match_name(inside, name, folder=None if deep else "/".join([*folders, name]))


def _match_name(inside: Filter, name: str, *, folder: str | None) -> Filter:
    if name in ("*", "**"):
        return inside
    ending = _ENDING.fullmatch(name)
    if ending:
        return And((inside, Match("suffix", (ending[1].lower(),))))
    if "*" in name:
        raise ValueError(f"{name!r} cannot be matched exactly: a file is named in full, or by its ending as in *.jpg")
    file = And((inside, Match("file", (name,))))
    return file if folder is None else Or((file, Match("dirs", (folder,))))  # the name may be a folder's


_ALL = ("=", "!=", ">=", "<=", ">", "<")

FIELDS: Mapping[str, Field] = {
    "path": Field((":",), "a file or folder: trips, trips/**, trips/*.jpg, **/*.png, /home/me/trips/**", _path),
    "tag": _words("tags", "one of its tags, without regard to case"),
    "rights": _words("rights", "its licence, without regard to case: cc-by"),
    "license": _words("rights", "the same as rights"),
    "creator": _words("creator", "who made it, without regard to case"),
    "date": _dates("date", "when it was taken, in UTC: 2024, 2024-01, 2024-01-31, 2024-01-31T18:00Z"),
    "width": _numbers("width", "pixels"),
    "height": _numbers("height", "pixels"),
    "orientation": Field(("=", "!="), "landscape, portrait or square", _orientation),
    "camera": Field(("=", "!="), "model of the camera, spelled as in its metadata", _camera),
    "gps.lat": _degrees("gps.lat", "latitude where it was taken, degrees, north is positive"),
    "gps.lon": _degrees("gps.lon", "longitude where it was taken, degrees, east is positive"),
    "size": _numbers("size", "bytes of the file"),
    "hash": _words("content_hash", "BLAKE2b-128 of the file, hex"),
}
