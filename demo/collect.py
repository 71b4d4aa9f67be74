"""Collects the demonstration's photographs out of installed Python packages: `python demo/collect.py DEST [--hashed]`.

photos.toml lists them with credit, licence and sha256. Nothing is downloaded or imported: only the packages' files are
read. What lies in DEST unchanged is left alone, so that a second indexing has nothing to do.
"""

import argparse
import hashlib
import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PHOTOS = Path(__file__).with_name("photos.toml")
_SIDECAR_KEYS = ("title", "title_zh", "credit", "license", "source")


class CollectError(Exception):
    """An image that cannot be had; the message is one line and names the way out."""


@dataclass(frozen=True)
class Photo:
    """One entry of the allow-list, completed by what its package says of itself."""

    id: str
    package: str  # name of the distribution
    version: str  # of the package, as it was when the list was made
    file: str  # below the folder into which packages are installed
    sha256: str
    album: str
    title: str
    title_zh: str
    credit: str
    license: str
    source: str

    @property
    def name(self) -> Path:
        """Returns album and file name, as a person would choose them."""
        return Path(self.album, Path(self.file).name)

    @property
    def hashed_name(self) -> Path:
        """Returns a name that reveals nothing about the image."""
        return Path(self.sha256[:16]).with_suffix(Path(self.file).suffix)


def load_photos(path: Path = PHOTOS) -> list[Photo]:
    """Reads the allow-list; its package supplies the fields that an entry lacks."""
    listed = tomllib.loads(path.read_text(encoding="utf-8"))
    photos = []
    for entry in listed["photo"]:
        fields = listed["package"][entry["package"]] | entry
        fields["file"] = f"{fields.pop('folder')}/{fields.pop('path')}"
        photos.append(Photo(**fields))
    return photos


def read(photo: Photo) -> bytes:
    """Reads an image from its package.

    Raises:
        CollectError: the package is not installed, or its file is not the listed one.
    """
    try:
        content = Path(str(metadata.distribution(photo.package).locate_file(photo.file))).read_bytes()
    except metadata.PackageNotFoundError:
        raise CollectError(f"{photo.package} is not installed: pip install {photo.package}=={photo.version}") from None
    except OSError as error:
        raise CollectError(f"{photo.package}: cannot read {photo.file}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != photo.sha256:
        wanted = f"{photo.package}=={photo.version}"
        raise CollectError(f"{photo.file} is not the listed image of {wanted}: pip install {wanted}")
    return content


def collect(photos: Sequence[Photo], destination: Path, *, hashed: bool = False) -> list[Path]:
    """Copies the images and returns their paths: albums with sidecars, or meaningless names without.

    Raises:
        CollectError: an image cannot be had; the ones before it are in place.
    """
    paths = []
    for photo in photos:
        path = destination / (photo.hashed_name if hashed else photo.name)
        _write(path, read(photo))
        if not hashed:
            _write(Path(f"{path}.json"), _sidecar(photo).encode())
        paths.append(path)
    return paths


def _sidecar(photo: Photo) -> str:
    known = {key: getattr(photo, key) for key in _SIDECAR_KEYS}
    return json.dumps(known, ensure_ascii=False, indent=2) + "\n"


def _write(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return  # a fresh time stamp would make the indexer look again
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def main() -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Collect the demonstration's photographs out of installed packages.")
    parser.add_argument("destination", metavar="DEST", type=Path, help="folder to copy into")
    parser.add_argument("--hashed", action="store_true", help="meaningless names and no sidecars, for measurements")
    options = parser.parse_args()
    try:
        paths = collect(load_photos(), options.destination, hashed=options.hashed)
    except (CollectError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(paths)} photographs in {options.destination}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
