"""The payload of an image: ingest writes it, filters select by it, search reads it.

    path          absolute path as text; bytes that are not UTF-8 are written as %XX (and then % itself as %25)
    path_bytes    hex of the true path, only where `path` had to be escaped
    root          the indexed root, as text
    dirs          every folder above the file: below the root relative ("trips", "trips/2024"), and all absolute ones
    folder        the folder that holds it, relative ("" is the root itself) and absolute
    file, suffix  name ("a.JPG") and its ending in lower case (".jpg")
    uploaded      the name in an upload, to which `dirs`, `folder`, `file` refer then; absent for other files
    size          bytes
    mtime_ns      time of the last change, nanoseconds
    sidecar_mtime_ns  the same of its sidecar, 0 if it has none
    content_hash  hex
    width, height pixels, upright
    orientation   landscape, portrait or square; absent in points that older versions wrote
    date          when it was taken, RFC 3339 in UTC; absent if unknown
    date_last     the last second of its year or month, only where no more is known; then `date` is the first one
    tags, rights, creator   folded by `fold`, so that filters ignore case; rights and creator absent if unknown. The
                  rights of a Creative Commons licence are a list: its text first, then `cc-by` and `cc-by-4.0`
    gps           where it was taken, {"lat", "lon"} in degrees; absent if unknown. Used by filters only, never returned
    restricted    1 if it must not be offered, else 0
    expires, embargo  moments from which and until which it must not be offered; absent if not set
    metadata      metadata of the sidecar and the file, spelled as there
    labels        [{"en", "zh", "p"}], best first

A point with the key `failure` is not an image but an entry of `failure_log.py`.

Texts in `dirs`, `folder` and `file` are NFC, since file systems differ. `filter_parser.py` turns filter expressions
into conditions on these keys.
"""

import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path, PurePath
from typing import cast

from xcomp_indexer.embed.base import ClassLabel
from xcomp_indexer.images.licenses import list_aliases
from xcomp_indexer.store import Filter, Missing, ScoredPoint

IMAGES: Filter = Missing("failure")  # the points that are images

_UNDECODED = re.compile("[\udc80-\udcff]")  # how Python decodes the bytes of a name that is not UTF-8
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class ImagePayload:
    """The record of an image, which the store keeps beside its vectors."""

    path: Path  # absolute
    root: Path  # absolute, above `path`
    size: int  # bytes
    mtime_ns: int
    content_hash: str
    width: int
    height: int
    sidecar_mtime_ns: int = 0
    date: datetime | None = None  # without a zone it counts as UTC
    date_last: datetime | None = None  # only of a date that is a whole year or month
    expires: datetime | None = None
    embargo: datetime | None = None
    tags: Sequence[str] = ()
    rights: str | None = None
    creator: str | None = None
    restricted: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)
    labels: Sequence[ClassLabel] = ()
    place: tuple[float, float] | None = None  # latitude and longitude, degrees
    uploaded: str = ""  # the name in an upload

    def write(self) -> dict[str, object]:
        """Returns the payload for the store."""
        content: dict[str, object] = {
            **locate(self.path, self.root),
            **(_locate_by_name(self.uploaded) if self.uploaded else {}),
            "size": self.size,
            "mtime_ns": self.mtime_ns,
            "sidecar_mtime_ns": self.sidecar_mtime_ns,
            "content_hash": self.content_hash,
            "width": self.width,
            "height": self.height,
            "orientation": orientation(self.width, self.height),
            "tags": sorted({fold(tag) for tag in self.tags}),
            "restricted": int(self.restricted),
            "metadata": plain(self.metadata),
            "labels": [{"en": each.en, "zh": each.zh, "p": each.probability} for each in self.labels],
        }
        known = {
            "date": self.date and utc(self.date),
            "date_last": self.date_last and utc(self.date_last),
            "expires": self.expires and utc(self.expires),
            "embargo": self.embargo and utc(self.embargo),
            "rights": self.rights and _list_rights(self.rights),
            "creator": self.creator and fold(self.creator),
            "gps": self.place and dict(zip(("lat", "lon"), self.place, strict=True)),
        }
        return content | {key: value for key, value in known.items() if value}

    @staticmethod
    def read(payload: Mapping[str, object]) -> "ImagePayload":
        """Parse a payload that `write` returned."""
        labels = cast("list[Mapping[str, object]]", payload["labels"])
        return ImagePayload(
            path=true_path(payload),
            root=Path(str(payload["root"])),
            size=cast("int", payload["size"]),
            mtime_ns=cast("int", payload["mtime_ns"]),
            content_hash=str(payload["content_hash"]),
            width=cast("int", payload["width"]),
            height=cast("int", payload["height"]),
            sidecar_mtime_ns=cast("int", payload["sidecar_mtime_ns"]),
            date=_moment(payload.get("date")),
            date_last=_moment(payload.get("date_last")),
            expires=_moment(payload.get("expires")),
            embargo=_moment(payload.get("embargo")),
            tags=cast("list[str]", payload["tags"]),
            rights=_first(payload.get("rights")),
            creator=cast("str | None", payload.get("creator")),
            restricted=bool(payload["restricted"]),
            metadata=cast("Mapping[str, object]", payload["metadata"]),
            labels=[ClassLabel(str(each["en"]), str(each["zh"]), cast("float", each["p"])) for each in labels],
            place=_place(payload.get("gps")),
            uploaded=str(payload.get("uploaded", "")),
        )


def orientation(width: int, height: int) -> str:
    """Return whether an image is in landscape or portrait format, or square."""
    if width == height:
        return "square"
    return "landscape" if width > height else "portrait"


def locate(path: Path, root: Path) -> dict[str, object]:
    """Return the keys for the location of a file; a rename changes only these."""
    below = path.relative_to(root).parent
    relative = [_nfc(each) for each in (below, *below.parents) if each.parts]
    absolute = [_nfc(each) for each in path.parents]
    content: dict[str, object] = {
        "path": printable(str(path)),
        "root": printable(str(root)),
        "dirs": relative + absolute,
        "folder": [_nfc(below) if below.parts else "", absolute[0]],
        "file": _nfc(PurePath(path.name)),
        "suffix": _nfc(PurePath(path.suffix.lower())) if path.suffix else "",
    }
    return content | ({"path_bytes": os.fsencode(path).hex()} if content["path"] != str(path) else {})


def _locate_by_name(name: str) -> dict[str, object]:
    where = locate(Path("/", name), Path("/"))
    return {"uploaded": name} | {key: where[key] for key in ("dirs", "folder", "file", "suffix")}


def true_path(payload: Mapping[str, object]) -> Path:
    """Return the path under which the file can be opened."""
    return Path(spelled_path(payload))


def spelled_path(payload: Mapping[str, object]) -> str:
    """Return the same path as text, as the os module decodes it."""
    if "path_bytes" in payload:
        return os.fsdecode(bytes.fromhex(str(payload["path_bytes"])))
    return str(payload["path"])


def printable(path: str) -> str:
    """Return a path as text: bytes that are not UTF-8 as %XX, and then % as %25."""
    if not _UNDECODED.search(path):
        return path
    return _UNDECODED.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", path.replace("%", "%25"))


def fold(text: str) -> str:
    """Returns a text as tags, rights and creators are compared: NFC, without case, blanks collapsed."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


def utc(moment: datetime) -> str:
    """Returns a moment as the store compares dates; without a zone it counts as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _list_rights(licence: str) -> str | list[str]:
    names = list(dict.fromkeys([fold(licence), *list_aliases(licence)]))
    return names if len(names) > 1 else names[0]


def _first(value: object) -> str | None:
    first = value[0] if isinstance(value, list) else value
    return first if isinstance(first, str) else None


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text)) if text else None


def _place(known: object) -> tuple[float, float] | None:
    return (float(known["lat"]), float(known["lon"])) if isinstance(known, Mapping) else None


def plain(value: object, depth: int = 0) -> object:
    """Convert the values of a sidecar to values that the store accepts; an odd value must not end an ingest.

    Booleans become 0 and 1; dates and other values that JSON lacks become text.
    """
    if isinstance(value, Mapping) and depth < 16:
        return {_clean(str(key)): plain(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < 16:
        return [plain(part, depth + 1) for part in value]
    if isinstance(value, bool):
        return int(value)
    if value is None or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return _clean(value.isoformat() if isinstance(value, date) else str(value))


def _clean(text: str) -> str:
    return _SURROGATE.sub("�", text)


def _nfc(path: PurePath) -> str:
    return unicodedata.normalize("NFC", printable(path.as_posix()))


def is_failure(point: ScoredPoint) -> bool:
    """Whether a point is an entry of the failure log and not an image."""
    return "failure" in point.payload
