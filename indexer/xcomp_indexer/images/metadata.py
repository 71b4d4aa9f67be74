"""Reads the metadata of an image: a JSON sidecar, XMP, IPTC and EXIF; where they differ, the first of these wins.

The keys are title, caption, alt, creator, credit, copyright, license, source, date (RFC 3339), tags, expires, embargo,
internal. A key with the suffix `_zh` holds the text for Chinese readers. Other keys of a sidecar are kept. Metadata is
untrusted text: control characters are removed, the length is bounded, and nothing is interpreted.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from PIL import ExifTags, Image, IptcImagePlugin
from PIL.ImageFile import ImageFile

from xcomp_indexer.images import xmp

MAX_TEXT = 4000  # characters of one value
MAX_SIDECAR_BYTES = 256 * 1024
MAX_KEYS = 64

Value = str | int | float | list[str]
Metadata = dict[str, Value]
GeoPoint = tuple[float, float]  # latitude and longitude, degrees, WGS 84

_EXIF = {
    ExifTags.Base.ImageDescription: "caption",
    ExifTags.Base.Artist: "creator",
    ExifTags.Base.Copyright: "copyright",
    ExifTags.Base.Model: "camera",
}
_IPTC = {
    (2, 5): "title",
    (2, 120): "caption",
    (2, 80): "creator",
    (2, 110): "credit",
    (2, 116): "copyright",
    (2, 115): "source",
}
_IPTC_KEYWORDS = (2, 25)
_TERMS = ("expires", "embargo")
_DATES = ("date", *_TERMS)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class SidecarError(ValueError):
    """A sidecar that cannot be used; the message is one line."""


def read_metadata(raw: Image.Image, path: str, *, with_sidecar: bool = True) -> Metadata:
    """Returns the metadata of an opened image; unreadable parts of XMP, IPTC and EXIF are left out.

    Raises:
        SidecarError: there is a sidecar, and it cannot be used.
    """
    return _read_exif(raw) | _read_iptc(raw) | _read_xmp(raw) | (read_sidecar(path) if with_sidecar else {})


def read_location(raw: Image.Image) -> GeoPoint | None:
    """Returns where an image was taken, by its EXIF; not part of `read_metadata`, which answers of the service show."""
    try:
        block = raw.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        latitude = _parse_degrees(block[ExifTags.GPS.GPSLatitude], block[ExifTags.GPS.GPSLatitudeRef], "NS")
        longitude = _parse_degrees(block[ExifTags.GPS.GPSLongitude], block[ExifTags.GPS.GPSLongitudeRef], "EW")
    except Exception:  # noqa: BLE001  # as in _read_exif
        return None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None  # false for NaN as well


def _parse_degrees(parts: object, side: object, sides: str) -> float:
    degrees, minutes, seconds = (float(part) for part in cast("tuple[float, float, float]", parts))
    name = str(side).strip("\0 ").upper()
    if name not in tuple(sides):
        raise ValueError(name)
    return round((degrees + minutes / 60 + seconds / 3600) * (1 if name == sides[0] else -1), 6)


def read_sidecar(path: str) -> Metadata:
    """Reads `PATH.json` (`photo.jpg.json`); returns an empty dict if it does not exist.

    Raises:
        SidecarError: it is not a JSON object, is larger than 256 KiB, or its `expires` or `embargo` is not a date. An
            image is not visible after `expires`, so an unreadable date must not count as no date.
    """
    file = Path(f"{path}.json")
    try:
        if file.stat().st_size > MAX_SIDECAR_BYTES:
            raise SidecarError(f"{file.name} is larger than {MAX_SIDECAR_BYTES // 1024} KiB")
        parsed = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SidecarError(f"{file.name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, SidecarError):
            raise
        raise SidecarError(f"{file.name} is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise SidecarError(f"{file.name} does not hold a JSON object")
    _check_sidecar(parsed, file.name)
    return _clean_values(parsed)


def _check_sidecar(values: Mapping[str, object], name: str) -> None:
    if len(values) > MAX_KEYS:
        raise SidecarError(f"{name} has {len(values)} keys, more than {MAX_KEYS}")
    for term in _TERMS:
        if values.get(term) not in (None, "") and parse_timestamp(values[term]) is None:
            raise SidecarError(f"{name}: {term} is not a date: write 2030-12-31 or 2030-12-31T18:00:00+01:00")


def _clean_values(values: Mapping[str, object]) -> Metadata:
    known: Metadata = {}
    for key, value in values.items():
        kept = parse_timestamp(value) if key in _DATES else _clean_value(value)
        if kept not in (None, "", []):
            known[clean_text(key)] = kept
    return known


def _clean_value(value: object) -> Value | None:
    if isinstance(value, bool):
        return int(value)  # the embedded engine cannot match booleans
    if isinstance(value, (int, float)):
        return value if abs(value) < 2**53 else None  # false for NaN as well
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean_text(item) for item in value if isinstance(item, str)]
    return None


def clean_text(text: str) -> str:
    """Removes control and direction characters, and bounds the length."""
    return _CONTROL.sub("", text).strip()[:MAX_TEXT]


def parse_timestamp(value: object) -> str | None:
    """Returns a date or time as RFC 3339 in UTC, which is the zone of one without; None if it is not a date."""
    if not isinstance(value, str):
        return None
    text = value.strip().replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")  # strftime does not pad early years


def _read_exif(raw: Image.Image) -> Metadata:
    try:
        exif = raw.getexif()
        detail = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # noqa: BLE001  # Pillow raises many classes on a broken block
        return {}
    known: Metadata = {}
    for tag, key in _EXIF.items():
        text = _decode_text(exif.get(tag))
        if text:
            known[key] = text
    taken = str(detail.get(ExifTags.Base.DateTimeOriginal) or "")
    moment = parse_timestamp(taken.strip("\0 ").replace(":", "-", 2))
    if moment:
        known["date"] = moment
    return known


def _read_iptc(raw: Image.Image) -> Metadata:
    try:
        block = (IptcImagePlugin.getiptcinfo(raw) if isinstance(raw, ImageFile) else None) or {}
    except Exception:  # noqa: BLE001  # as in _read_exif
        return {}
    known: Metadata = {}
    for tag, key in _IPTC.items():
        text = _decode_text(block.get(tag))
        if text:
            known[key] = text
    words = block.get(_IPTC_KEYWORDS) or []
    tags = [text for text in map(_decode_text, words if isinstance(words, list) else [words]) if text]
    if tags:
        known["tags"] = list(tags)
    return known


def _read_xmp(raw: Image.Image) -> Metadata:
    return _clean_values(xmp.read_packet(raw.info.get("xmp")))


def _decode_text(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, str):
        with suppress(UnicodeEncodeError):  # Pillow reads EXIF texts as Latin-1, but most programs write UTF-8
            value = value.encode("latin-1")
    if isinstance(value, bytes):
        value = _decode_bytes(value)
    return clean_text(value) if isinstance(value, str) else ""


def _decode_bytes(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
