"""Translates the JSON of other programs to our keys: Google Takeout's and exiftool's."""

import math
from collections.abc import Mapping

from xcomp_indexer.images import dates
from xcomp_indexer.images.boilerplate import is_boilerplate
from xcomp_indexer.images.exif import GeoPoint

_OWN = ("caption", "alt", "creator", "credit", "copyright", "license", "tags", "internal", "expires", "embargo")
_EXIFTOOL = {  # tag to key; an earlier tag wins
    "Title": "title",
    "ObjectName": "title",
    "Description": "caption",
    "Caption-Abstract": "caption",
    "ImageDescription": "caption",
    "AltTextAccessibility": "alt",
    "Creator": "creator",
    "By-line": "creator",
    "Artist": "creator",
    "Credit": "credit",
    "Rights": "copyright",
    "CopyrightNotice": "copyright",
    "Copyright": "copyright",
    "License": "license",
    "UsageTerms": "license",
    "Source": "source",
    "Subject": "tags",
    "Keywords": "tags",
    "SubSecDateTimeOriginal": "date",
    "DateTimeOriginal": "date",
    "DateCreated": "date",
    "CreateDate": "date",
    "Model": "camera",
}
_PRIVATE = ("SourceFile", "Directory", "ExifToolVersion")


def is_takeout(parsed: Mapping[str, object]) -> bool:
    """Whether an object is a sidecar of Google Takeout."""
    taken, link = parsed.get("photoTakenTime"), parsed.get("url")
    return (
        (isinstance(taken, dict) and "timestamp" in taken)
        or "googlePhotosOrigin" in parsed
        or (isinstance(link, str) and link.startswith("https://photos.google.com/"))
    )


def translate_takeout(parsed: Mapping[str, object], image: str) -> tuple[dict[str, object], GeoPoint | None]:
    """Returns what a sidecar of Takeout says, and the place; its title counts only if it is not the name of a file."""
    values = {key: value for key, value in parsed.items() if key.strip().casefold() in _OWN}
    title, description = parsed.get("title"), parsed.get("description")
    if isinstance(title, str) and not is_boilerplate(title, image):
        values["title"] = title
    if isinstance(description, str) and description.strip():
        values["caption"] = description
    values["date"] = _parse_seconds(parsed.get("photoTakenTime"))
    return values, _parse_place(parsed.get("geoData")) or _parse_place(parsed.get("geoDataExif"))


def _parse_seconds(taken: object) -> str | None:
    try:
        return dates.format_moment(int(str(taken["timestamp"]))) if isinstance(taken, Mapping) else None
    except (KeyError, ValueError):
        return None


def _parse_place(block: object) -> GeoPoint | None:
    if not isinstance(block, Mapping):
        return None
    degrees = [block.get("latitude"), block.get("longitude")]
    latitude, longitude = (float(each) if isinstance(each, int | float) else math.nan for each in degrees)
    if not (abs(latitude) <= 90 and abs(longitude) <= 180) or latitude == longitude == 0:  # zeros stand for no place
        return None
    return round(latitude, 6), round(longitude, 6)


def translate_exiftool(parsed: dict[str, object]) -> dict[str, object]:
    """Returns an object of `exiftool -j` (also `-G`) with our keys; another object as it is."""
    if "SourceFile" not in parsed:
        return parsed
    values = {key: value for key, value in parsed.items() if key.rpartition(":")[2] not in _PRIVATE}
    by_tag: dict[str, object] = {}
    for name, value in parsed.items():
        by_tag.setdefault(name.rpartition(":")[2], value)
    for tag, key in _EXIFTOOL.items():
        value = by_tag.get(tag)
        if value not in (None, "", []) and key not in values:
            values[key] = _adapt(key, value)
    return values


def _adapt(key: str, value: object) -> object:
    if key == "tags":
        return [str(each) for each in (value if isinstance(value, list) else str(value).split(","))]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value) if isinstance(value, int | float) and key != "date" else value
