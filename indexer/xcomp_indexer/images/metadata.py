"""What is known about a picture beside its pixels: a JSON sidecar, XMP, IPTC and EXIF, in this order of trust.

The keys: title, caption, alt, creator, credit, copyright, license, source, date (RFC 3339), tags, expires, embargo,
internal; a text may have a variant for Chinese readers under the key with `_zh`. Other keys of a sidecar are kept.
Everything here is a stranger's text: it is cleaned of control characters and bounded, never interpreted.
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
    """A sidecar that is no JSON object; the message is one line."""


def of(raw: Image.Image, path: str, *, with_sidecar: bool = True) -> Metadata:
    """Gathers a picture's metadata; what cannot be read of XMP, IPTC and EXIF is left out.

    Raises:
        SidecarError: there is a sidecar, and it cannot be used.
    """
    return _exif(raw) | _iptc(raw) | _xmp(raw) | (sidecar(path) if with_sidecar else {})


def place(raw: Image.Image) -> GeoPoint | None:
    """Returns where a picture was taken, by its EXIF. It stays out of what `of` returns: answers show that."""
    try:
        block = raw.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        latitude = _degrees(block[ExifTags.GPS.GPSLatitude], block[ExifTags.GPS.GPSLatitudeRef], "NS")
        longitude = _degrees(block[ExifTags.GPS.GPSLongitude], block[ExifTags.GPS.GPSLongitudeRef], "EW")
    except Exception:  # noqa: BLE001  # as in _exif
        return None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None  # false for NaN as well


def _degrees(parts: object, side: object, sides: str) -> float:
    degrees, minutes, seconds = (float(part) for part in cast("tuple[float, float, float]", parts))
    name = str(side).strip("\0 ").upper()
    if name not in tuple(sides):
        raise ValueError(name)
    return round((degrees + minutes / 60 + seconds / 3600) * (1 if name == sides[0] else -1), 6)


def sidecar(path: str) -> Metadata:
    """Reads `PATH.json` (`photo.jpg.json`), or nothing where there is none.

    Raises:
        SidecarError: it is no JSON object, larger than 256 KiB, or has a term that is no date: an image is not offered
            past its `expires`, so one that cannot be read must not pass for none.
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
        raise SidecarError(f"{file.name} is no JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise SidecarError(f"{file.name} holds no JSON object")
    _check(parsed, file.name)
    return _cleaned(parsed)


def _check(values: Mapping[str, object], name: str) -> None:
    if len(values) > MAX_KEYS:
        raise SidecarError(f"{name} has {len(values)} keys, more than {MAX_KEYS}")
    for term in _TERMS:
        if values.get(term) not in (None, "") and timestamp(values[term]) is None:
            raise SidecarError(f"{name}: {term} is no date: write 2030-12-31 or 2030-12-31T18:00:00+01:00")


def _cleaned(values: Mapping[str, object]) -> Metadata:
    known: Metadata = {}
    for key, value in values.items():
        kept = timestamp(value) if key in _DATES else _value(value)
        if kept not in (None, "", []):
            known[clean(key)] = kept
    return known


def _value(value: object) -> Value | None:
    if isinstance(value, bool):
        return int(value)  # the embedded engine cannot match booleans
    if isinstance(value, (int, float)):
        return value if abs(value) < 2**53 else None  # false for NaN as well
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean(item) for item in value if isinstance(item, str)]
    return None


def clean(text: str) -> str:
    """Removes control and direction characters, and bounds the length."""
    return _CONTROL.sub("", text).strip()[:MAX_TEXT]


def timestamp(value: object) -> str | None:
    """Returns a date or time as RFC 3339 in UTC; one without a zone counts as UTC. None if it is no date."""
    if not isinstance(value, str):
        return None
    text = value.strip().replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")  # strftime does not fill up early years


def _exif(raw: Image.Image) -> Metadata:
    try:
        exif = raw.getexif()
        detail = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # noqa: BLE001  # Pillow raises whatever a broken block leads it into
        return {}
    known: Metadata = {}
    for tag, key in _EXIF.items():
        text = _text(exif.get(tag))
        if text:
            known[key] = text
    taken = str(detail.get(ExifTags.Base.DateTimeOriginal) or "")
    moment = timestamp(taken.strip("\0 ").replace(":", "-", 2))
    if moment:
        known["date"] = moment
    return known


def _iptc(raw: Image.Image) -> Metadata:
    try:
        block = (IptcImagePlugin.getiptcinfo(raw) if isinstance(raw, ImageFile) else None) or {}
    except Exception:  # noqa: BLE001  # as above
        return {}
    known: Metadata = {}
    for tag, key in _IPTC.items():
        text = _text(block.get(tag))
        if text:
            known[key] = text
    words = block.get(_IPTC_KEYWORDS) or []
    tags = [text for text in map(_text, words if isinstance(words, list) else [words]) if text]
    if tags:
        known["tags"] = list(tags)
    return known


def _xmp(raw: Image.Image) -> Metadata:
    return _cleaned(xmp.read(raw.info.get("xmp")))


def _text(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, str):
        with suppress(UnicodeEncodeError):  # Pillow reads EXIF texts as Latin-1, and most programs write UTF-8
            value = value.encode("latin-1")
    if isinstance(value, bytes):
        value = _decoded(value)
    return clean(value) if isinstance(value, str) else ""


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
