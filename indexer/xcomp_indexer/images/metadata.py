"""Reads the metadata of an image: its sidecars, XMP, IPTC and EXIF; where they differ, the first of these wins.

The keys are title, caption, alt, creator, credit, copyright, license, source, date, tags, expires, embargo, internal.
A key with the suffix `_zh` holds the text for Chinese readers. A date is RFC 3339, or `1954` or `1954-07` where no
more is known. Other keys of a sidecar are kept. Metadata is untrusted text: control characters are removed, the length
is bounded, and nothing is interpreted. Texts that a camera wrote and not a person are left out (`boilerplate.py`).

Readers return two keys for this module alone: `digitized`, the date to use without another one, and `local`, the time
on the clock of the camera where its zone is known.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from PIL import Image

from xcomp_indexer.images import exif, sidecar, xmp
from xcomp_indexer.images.boilerplate import is_boilerplate
from xcomp_indexer.images.exif import GeoPoint
from xcomp_indexer.images.iptc import read_iptc
from xcomp_indexer.images.sidecar import MAX_SIDECAR_BYTES, Metadata, SidecarError, Value, clean_values
from xcomp_indexer.images.text import MAX_TEXT, clean_text

__all__ = [
    "MAX_SIDECAR_BYTES", "MAX_TEXT", "GeoPoint", "Metadata", "SidecarError", "Value", "clean_text", "read_location",
    "read_metadata", "read_sidecar",
]  # fmt: skip

_WORDS = tuple(f"{key}{suffix}" for key in ("title", "caption", "alt") for suffix in ("", "_zh", "_en"))


def read_metadata(raw: Image.Image, path: str, *, sidecars: Sequence[str] | None = None) -> Metadata:
    """Returns the metadata of an opened image; unreadable parts of XMP, IPTC and EXIF are left out.

    `sidecars` are the files to read beside it, the first wins; by default it is `PATH.json`.

    Raises:
        SidecarError: a sidecar cannot be used.
    """
    of_exif = exif.read_exif(raw)
    camera = str(of_exif.get("camera", ""))
    inside: Metadata = {}
    for part in (of_exif, read_iptc(raw), clean_values(xmp.read_packet(xmp.find_packet(raw)))):
        inside |= _drop_boilerplate(part, path, camera)
    beside = _drop_boilerplate(read_sidecars(path, sidecars), path, camera)
    known = _drop_older_words(inside, beside) | beside
    return _settle_date(known, of_exif)


def read_sidecars(path: str, sidecars: Sequence[str] | None = None) -> Metadata:
    """Returns what the sidecars of an image say; see `read_metadata`."""
    known: Metadata = {}
    for file in (f"{path}.json",) if sidecars is None else sidecars:
        known = sidecar.read_sidecar(file, path).values | known
    return known


def read_sidecar(path: str) -> Metadata:
    """Returns what `PATH.json` says; empty if it does not exist."""
    return read_sidecars(path)


def read_location(raw: Image.Image, path: str = "", sidecars: Sequence[str] = ()) -> GeoPoint | None:
    """Returns where an image was taken, by its EXIF, else by a sidecar; no answer of the service shows it."""
    found = exif.read_location(raw)
    for file in () if found else sidecars:
        with suppress(SidecarError):
            found = found or sidecar.read_sidecar(file, path).location
    return found


def _drop_boilerplate(values: Mapping[str, Value], path: str, camera: str) -> Metadata:
    return {
        key: value
        for key, value in values.items()
        if not (key in _WORDS and isinstance(value, str) and is_boilerplate(value, path, camera=camera))
    }


def _drop_older_words(inside: Metadata, beside: Metadata) -> Metadata:
    """Drops the caption of the file where a sidecar has a title alone, because a caption is printed before a title."""
    suffixes = [suffix for suffix in ("", "_zh") if f"title{suffix}" in beside]
    return {key: value for key, value in inside.items() if key not in [f"caption{suffix}" for suffix in suffixes]}


def _settle_date(known: Metadata, of_exif: Mapping[str, Value]) -> Metadata:
    """Chooses the date: XMP often repeats the clock of the camera and leaves out its zone, which EXIF has."""
    digitized, local = known.pop("digitized", None), known.pop("local", None)
    if digitized and "date" not in known:
        known["date"] = digitized
    if local and known.get("date") == local:
        known["date"] = of_exif["date"]
    return known
