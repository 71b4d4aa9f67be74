"""Finds the sidecars of an image by their names.

`a.jpg.json` is ours or that of a downloader, and was Google Takeout's; `a.jpg.supplemental-metadata.json` is Takeout's
now. `a.jpg.xmp` is darktable's and digiKam's, `a.xmp` Adobe's. Takeout cuts names after 46 characters, and moves the
number of a copy behind: `a(1).jpg` has `a.jpg(1).json` and `a.jpg.supplemental-metadata(1).json`.
"""

import os
import re
from collections.abc import Iterator

_SUPPLEMENT = ".supplemental-metadata"
_CUT = 46  # characters that Takeout leaves of a name before `.json`
_COPY = re.compile(r"(.+)(\(\d+\))(\.[^.]+)", re.DOTALL)
_EDITED = re.compile(r"(.+)-edited((?:\(\d+\))?\.[^.]+)", re.DOTALL)


class SidecarNames:
    """The names in a folder that a sidecar may have."""

    def __init__(self) -> None:
        self._json: set[str] = set()
        self._xmp: dict[str, str] = {}  # the name without its suffix to the name

    def add(self, name: str) -> None:
        """Adds a name, if a sidecar may have it."""
        if name.endswith(".json"):
            self._json.add(name)
        elif name[-4:].lower() == ".xmp":
            self._xmp[name[:-4]] = name

    def find(self, folder: str, image: str) -> list[str]:
        """Returns the paths of the sidecars of an image; the first wins."""
        if not (self._json or self._xmp):
            return []
        json = next((name for name in _iterate_json(image) if name in self._json), None)
        xmp = [self._xmp[stem] for stem in (image, image[: image.rfind(".")]) if stem in self._xmp]
        return [os.path.join(folder, name) for name in ([json] if json else []) + xmp]  # noqa: PTH118  # this code is hot


def list_sidecars(folder: str, image: str) -> list[str]:
    """Returns the paths of the sidecars of an image that is given by name; empty if its folder cannot be listed."""
    names = SidecarNames()
    try:
        for name in os.listdir(folder):  # noqa: PTH208  # as in find
            names.add(name)
    except OSError:
        names.add(f"{image}.json")
    return names.find(folder, image)


def _iterate_json(image: str) -> Iterator[str]:
    """Yields the names that the JSON of an image may have; the first that exists counts."""
    yield f"{image}.json"
    yield from _iterate_takeout(image, "")
    copy = _COPY.fullmatch(image)
    if copy:
        yield from _iterate_takeout(copy[1] + copy[3], copy[2])
    edited = _EDITED.fullmatch(image)
    if edited:
        original = edited[1] + edited[2]
        yield f"{original}.json"
        yield from _iterate_takeout(original, "")


def _iterate_takeout(image: str, number: str) -> Iterator[str]:
    whole = image + _SUPPLEMENT
    for length in range(len(whole), len(image), -1):
        yield f"{whole[:length]}{number}.json"
    if number:
        yield f"{image}{number}.json"
    if len(whole) > _CUT and len(image) >= _CUT:
        yield f"{whole[:_CUT]}{number}.json"
