"""The images and requests that `lite_quality` measures with.

The pools are images that packages install; none is kept here. The demonstration's photographs come with the
environment; others with packages of Debian or PyPI, laid into a folder (docs/benchmarks.md tells how): other
photographs and other requests, which the embedder's settings were not chosen by, and things cut out or drawn.
"""

import csv
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from tests.bench import resource_file
from xcomp_indexer.images import decode

_DEMO = Path(__file__).parents[2] / "demo"
_POOLS = Path(__file__).with_name("pools")
_WALLPAPERS = ("lomiri/", "mate/", "plasma/")
# Stamps that show letters, coins and signs.
_SIGNS = ("symbols/", "town/flags/", "town/roadsigns/")


@dataclass(frozen=True)
class Request:
    """A wish in both languages and the photos that fulfil it, as indices."""

    texts: Mapping[str, str]
    right: frozenset[int]


@dataclass(frozen=True)
class Pool:
    """Photos by id, and requests for them."""

    photos: Mapping[str, Image.Image]
    requests: Sequence[Request]


def demonstration(image_size: int) -> Pool:
    """Decodes the allow-listed photos as the indexer does."""
    table = tomllib.loads((_DEMO / "photos.toml").read_text(encoding="utf-8"))
    photos = {}
    for photo in table["photo"]:
        package, _, inner = table["package"][photo["package"]]["folder"].partition("/")
        spec = find_spec(package)
        assert spec is not None, f"{package} is not installed"
        assert spec.submodule_search_locations
        content = (Path(spec.submodule_search_locations[0]) / inner / photo["path"]).read_bytes()
        photos[photo["id"]] = decode.decode(content, image_size=image_size).image
    return Pool(photos, _requests(_DEMO / "queries.tsv", list(photos)))


def debian(root: Path, image_size: int) -> Pool:
    """Decodes the photos of the Debian packages that lie unpacked under a folder."""
    photos = _unpacked("debian", root, image_size)
    return Pool(photos, _requests(_POOLS / "debian_requests.tsv", list(photos)))


def captions(root: Path, image_size: int) -> Pool:
    """Decodes the same photos, with other requests: what some of them show, a line each."""
    photos = _unpacked("debian", root, image_size)
    return Pool(photos, _requests(_POOLS / "debian_captions.tsv", list(photos)))


def wallpapers(root: Path, image_size: int) -> Pool:
    """Lays those of them that are wallpapers among the demonstration's photos, with a line each of what some show."""
    others = {key: photo for key, photo in _unpacked("debian", root, image_size).items() if key.startswith(_WALLPAPERS)}
    photos = {**demonstration(image_size).photos, **others}
    return Pool(photos, _requests(_POOLS / "wallpapers_captions.tsv", list(photos)))


def pypi(root: Path, image_size: int) -> Pool:
    """Decodes the photos of the packages of PyPI that lie under a folder, and lays them among the demonstration's."""
    photos = {**demonstration(image_size).photos, **_unpacked("pypi", root, image_size)}
    return Pool(photos, _requests(_POOLS / "pypi_requests.tsv", list(photos)))


def cutouts(root: Path, image_size: int) -> Pool:
    """Decodes the stamps of Tux Paint that lie unpacked under a folder, but for cartoons: mostly photographs."""
    return _stamps(root, image_size, cartoons=False)


def cartoons(root: Path, image_size: int) -> Pool:
    """Decodes those stamps of Tux Paint that lie in its folders of cartoons."""
    return _stamps(root, image_size, cartoons=True)


def _stamps(root: Path, image_size: int, *, cartoons: bool) -> Pool:
    # Requests are the stamps' own descriptions, of those that have one in both languages; some stamps share one.
    folder = root / "usr/share/tuxpaint/stamps"
    pictures, texts, owners = dict[str, Image.Image](), dict[str, str](), dict[str, set[int]]()
    for path in sorted(folder.rglob("*.png")):
        key = path.relative_to(folder).as_posix()
        english, chinese = _description(path.with_suffix(".txt"))
        if chinese and not key.startswith(_SIGNS) and ("/cartoon/" in key) == cartoons:
            owners.setdefault(english, set()).add(len(pictures))
            texts.setdefault(english, chinese)
            pictures[key] = decode.decode(path.read_bytes(), image_size=image_size).image
    requests = [Request({"en": each, "zh": texts[each]}, frozenset(right)) for each, right in owners.items()]
    return Pool(pictures, requests)


def _description(path: Path) -> tuple[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    chinese = [line.partition("=")[2] for line in lines if line.startswith("zh_CN")]
    return (lines[0].strip(), chinese[0].strip()) if chinese else ("", "")


def _unpacked(name: str, root: Path, image_size: int) -> dict[str, Image.Image]:
    contents = cache(resource_file.read)
    photos = {}
    for row in _rows(_POOLS / f"{name}_photos.tsv"):
        path = root / row["path"]
        content = contents(path)[row["inner"]] if row["inner"] else path.read_bytes()
        photos[row["id"]] = decode.decode(content, image_size=image_size).image
    return photos


def _requests(table: Path, ids: Sequence[str]) -> list[Request]:
    return [
        Request(
            texts={"en": row["query_en"], "zh": row["query_zh"]},
            right=frozenset(ids.index(each) for each in re.split(r"[ ,]+", row["ids"].strip())),
        )
        for row in _rows(table)
    ]


def _rows(table: Path) -> Iterator[dict[str, str]]:
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]  # comments
    yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
