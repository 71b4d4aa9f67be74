"""Reads a sidecar: our JSON, that of Google Takeout, exiftool or a downloader, or an XMP file.

Keys are cleaned before they are looked at, and what protects an image fails closed: an `internal` that cannot be
understood is internal, and an `expires` or `embargo` that is not a date is an error.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from xcomp_indexer.images import dates, foreign_json, xmp
from xcomp_indexer.images.exif import GeoPoint
from xcomp_indexer.images.text import clean_text

MAX_SIDECAR_BYTES = 256 * 1024
MAX_XMP_BYTES = xmp.MAX_BYTES  # an editor writes its settings there, too
MAX_KEYS = 64
MAX_TAGS = 500

Value = str | int | float | list[str]
Metadata = dict[str, Value]

_TERMS = ("expires", "embargo")
_GUARDS = ("internal", *_TERMS)
_DATES = ("date", "digitized")
_PUBLIC = ("", "false", "no", "0")  # what `internal` may say without making an image internal
_KNOWN = ("title", "caption", "alt", "creator", "credit", "copyright", "license", "source", "date", "tags")


class SidecarError(ValueError):
    """A sidecar that cannot be used; the message is one line."""


@dataclass(frozen=True)
class SidecarContents:
    """What a sidecar says."""

    values: Metadata = field(default_factory=dict)
    location: GeoPoint | None = None


def read_sidecar(file: str, image: str) -> SidecarContents:
    """Reads a sidecar of the file `image`; it says nothing if it does not exist.

    Raises:
        SidecarError: it is neither XML nor a JSON object, is too large, or its `expires` or `embargo` is not a date. An
            image is not visible after `expires`, so an unreadable date must not count as no date.
    """
    path = Path(file)
    try:
        content = _read_bytes(path)
    except FileNotFoundError:
        return SidecarContents()
    except OSError as error:
        raise SidecarError(f"{path.name} cannot be read: {error.strerror}") from None
    if content.lstrip(b"\xef\xbb\xbf \t\r\n\0").startswith(b"<") or content.startswith(xmp.UTF16):
        return SidecarContents(clean_values(xmp.read_packet(content)))
    if file.lower().endswith(".xmp"):
        return SidecarContents()
    parsed = _parse_json(content, path.name)
    if foreign_json.is_takeout(parsed):
        values, location = foreign_json.translate_takeout(parsed, image)
    elif path.name != f"{Path(image).name}.json":
        return SidecarContents()  # its name only resembles one of Takeout's
    else:
        values, location = foreign_json.translate_exiftool(parsed), None
    return SidecarContents(_clean_and_check(values.items(), path.name), location)


def _read_bytes(path: Path) -> bytes:
    limit = MAX_XMP_BYTES if path.suffix.lower() == ".xmp" else MAX_SIDECAR_BYTES
    if path.stat().st_size > limit:
        raise SidecarError(f"{path.name} is larger than {limit // 1024} KiB")
    return path.read_bytes()


def _parse_json(content: bytes, name: str) -> dict[str, object]:
    try:
        parsed = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_merge_pairs)
    except (ValueError, RecursionError) as error:
        raise SidecarError(f"{name} is not JSON: {error}") from None
    if isinstance(parsed, list) and len(parsed) == 1:  # as `exiftool -j` writes it
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        raise SidecarError(f"{name} does not hold a JSON object")
    return cast("dict[str, object]", parsed)


def _merge_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Builds an object; of an `internal` that is given twice, one that protects counts."""
    merged: dict[str, object] = {}
    for key, value in pairs:
        if _fold_key(key) in _TERMS and key in merged and merged[key] != value:
            raise ValueError(f"{_fold_key(key)} is given twice")
        merged[key] = merged[key] if _fold_key(key) == "internal" and _is_internal(merged.get(key)) else value
    return merged


def _fold_key(key: str) -> str:
    """Returns a key of protection as this module knows it, however it is spelled; another key only cleaned."""
    cleaned = clean_text(key)
    return cleaned.casefold() if cleaned.casefold() in _GUARDS else cleaned


def _clean_and_check(pairs: Iterable[tuple[str, object]], name: str) -> Metadata:
    cleaned = [(_fold_key(key), value) for key, value in pairs]
    guards: Metadata = {}
    for key, value in cleaned:
        if key == "internal" and _is_internal(value):
            guards[key] = 1
        elif key in _TERMS and value not in (None, ""):
            guards[key] = _check_term(key, value, guards, name)
    return clean_values(dict(_select_keys(cleaned))) | guards


def _is_internal(value: object) -> bool:
    if isinstance(value, str):
        return clean_text(value).casefold() not in _PUBLIC
    return not (value is None or (isinstance(value, int | float) and value == 0))


def _check_term(key: str, value: object, known: Metadata, name: str) -> str:
    moment = dates.parse_timestamp(value)
    if moment is None:
        raise SidecarError(f"{name}: {key} is not a date: write 2030-12-31 or 2030-12-31T18:00:00+01:00")
    if known.get(key, moment) != moment:
        raise SidecarError(f"{name}: {key} is given twice")
    return moment


def _select_keys(pairs: list[tuple[str, object]]) -> Iterable[tuple[str, object]]:
    """Yields the pairs to keep: the known keys, and others up to a bound."""
    others = MAX_KEYS
    for key, value in pairs:
        if key in _GUARDS:
            continue
        if key.removesuffix("_zh").removesuffix("_en") in _KNOWN:
            yield key, value
        elif others and _clean_value(value) not in (None, "", []):
            others -= 1
            yield key, value


def clean_values(values: Mapping[str, object]) -> Metadata:
    """Returns the values that metadata can hold, as text, number or list of texts; the others are left out."""
    known: Metadata = {}
    for key, value in values.items():
        kept = dates.parse_date(value) if key in _DATES else _clean_value(value)
        if kept not in (None, "", []) and key:
            known[key] = kept
    return known


def _clean_value(value: object) -> Value | None:
    if isinstance(value, bool):
        return int(value)  # the embedded engine cannot match booleans
    if isinstance(value, int | float):
        return value if abs(value) < 2**53 else None  # false for NaN as well
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean_text(item) for item in value[:MAX_TAGS] if isinstance(item, str)]
    return None
