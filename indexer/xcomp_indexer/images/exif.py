"""Reads EXIF: texts about the image, when it was taken, and where."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import cast

from PIL import ExifTags, Image

from xcomp_indexer.images import dates, text

GeoPoint = tuple[float, float]  # latitude and longitude, degrees, WGS 84

_TEXTS = {
    ExifTags.Base.ImageDescription: "caption",
    ExifTags.Base.Artist: "creator",
    ExifTags.Base.Copyright: "copyright",
    ExifTags.Base.Model: "camera",
}
_WINDOWS = {  # UTF-16, by the file properties of Windows; an earlier tag wins
    ExifTags.Base.XPTitle: "title",
    ExifTags.Base.XPComment: "caption",
    ExifTags.Base.XPSubject: "caption",
    ExifTags.Base.XPAuthor: "creator",
}
_OFFSET_ORIGINAL, _OFFSET_DIGITIZED = 0x9011, 0x9012
_MAX_TAGS = 500


def read_exif(raw: Image.Image) -> dict[str, str | list[str]]:
    """Returns the texts of an image, with `date`, and `digitized` and `local` (see `metadata.py`); empty if broken."""
    try:
        exif = raw.getexif()
        detail = exif.get_ifd(ExifTags.IFD.Exif)
        return {**_read_texts(exif, detail), **_read_dates(detail)}
    except Exception:  # noqa: BLE001  # Pillow raises many classes on a broken block
        return {}


def read_location(raw: Image.Image) -> GeoPoint | None:
    """Returns where an image was taken; not part of `read_exif`, which answers of the service show."""
    try:
        block = raw.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        latitude = _parse_degrees(block[ExifTags.GPS.GPSLatitude], block[ExifTags.GPS.GPSLatitudeRef], "NS")
        longitude = _parse_degrees(block[ExifTags.GPS.GPSLongitude], block[ExifTags.GPS.GPSLongitudeRef], "EW")
    except Exception:  # noqa: BLE001  # as in read_exif
        return None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None  # false for NaN as well


def _parse_degrees(parts: object, side: object, sides: str) -> float:
    degrees, minutes, seconds = (float(part) for part in cast("tuple[float, float, float]", parts))
    name = str(side).strip("\0 ").upper()
    if name not in tuple(sides):
        raise ValueError(name)
    return round((degrees + minutes / 60 + seconds / 3600) * (1 if name == sides[0] else -1), 6)


def _read_texts(exif: Mapping[int, object], detail: Mapping[int, object]) -> dict[str, str | list[str]]:
    found = {key: _split_nul(_to_bytes(exif.get(tag))) for tag, key in _TEXTS.items()}
    charset = text.choose_charset([part for parts in found.values() for part in parts])
    known: dict[str, str | list[str]] = {}
    for key, parts in found.items():
        persons = parts[:2] if key == "copyright" else parts[:1]  # a copyright is the photographer's NUL the editor's
        said = filter(None, (text.clean_text(text.decode(part, charset)) for part in persons))
        known[key] = ", ".join(said)
    for tag, key in _WINDOWS.items():
        known[key] = known.get(key) or _decode_utf16(exif.get(tag))
    known["caption"] = known["caption"] or _decode_comment(detail.get(ExifTags.Base.UserComment))
    words = _decode_utf16(exif.get(ExifTags.Base.XPKeywords)).split(";")[:_MAX_TAGS]
    known["tags"] = [word.strip() for word in words if word.strip()]
    return {key: value for key, value in known.items() if value}


def _to_bytes(value: object) -> bytes:
    if isinstance(value, str):
        with suppress(UnicodeEncodeError):
            return value.encode("latin-1")  # as which Pillow decodes whatever was written
        return value.encode("utf-8", "replace")
    return value if isinstance(value, bytes) else b""


def _split_nul(value: bytes) -> list[bytes]:
    """A NUL ends a text; what lies behind is another text or the remains of a buffer."""
    return value.split(b"\0")[:2]


def _decode_utf16(value: object) -> str:
    if isinstance(value, tuple):
        value = bytes(part for part in cast("Iterable[int]", value) if part in range(256))
    if not isinstance(value, bytes):
        return ""
    return text.clean_text(value.decode("utf-16-le", "ignore").partition("\0")[0])


def _decode_comment(value: object) -> str:
    """Decodes a UserComment, whose first eight bytes name the charset."""
    content = _to_bytes(value)
    charset, content = content[:8].rstrip(b"\0 ").upper(), content[8:]
    if charset == b"UNICODE":
        order = "utf-16-be" if content[:2] == b"\xfe\xff" or content[:1] == b"\0" else "utf-16-le"
        return text.clean_text(content.decode(order, "ignore").partition("\0")[0])
    if charset == b"JIS":
        return text.clean_text(content.decode("iso2022_jp", "ignore").partition("\0")[0])
    return text.clean_text(text.decode(content.partition(b"\0")[0])) if charset in (b"", b"ASCII") else ""


def _read_dates(detail: Mapping[int, object]) -> dict[str, str | list[str]]:
    known: dict[str, str | list[str]] = {}
    for key, tag, offset in (
        ("date", ExifTags.Base.DateTimeOriginal, _OFFSET_ORIGINAL),
        ("digitized", ExifTags.Base.DateTimeDigitized, _OFFSET_DIGITIZED),
    ):
        taken = str(detail.get(tag) or "").partition("\0")[0].strip()
        zone = str(detail.get(offset) or "").partition("\0")[0].strip()
        local = dates.parse_date(taken)
        moment = (dates.parse_date(f"{taken}{zone}") if local and "T" in local else None) or local
        if moment:
            known[key] = moment
        if local and key == "date" and moment != local:
            known["local"] = local
    return known
