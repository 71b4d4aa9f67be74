"""The loader: one bad file is a failure with its name, and the others are read."""

from pathlib import Path

import pytest

from tests import images
from xcomp_indexer.ingest import loader
from xcomp_indexer.ingest.loader import LoadedImage, Loader
from xcomp_indexer.ingest.scan import Entry, scan
from xcomp_protos.errors import ImageError


def load(folder: Path) -> dict[str, LoadedImage | ImageError]:
    entries = scan([str(folder)]).entries
    found = Loader((), lambda _: {}, image_size=32).load_ahead(entries, lambda: 2)
    return {Path(entry.path).name: item for entry, item in found}


def test_a_sidecar_with_an_odd_key_harms_nothing(tmp_path: Path) -> None:
    images.library(tmp_path, {"a.jpg": images.RED, "b.jpg": images.BLUE})
    (tmp_path / "a.jpg.json").write_text('{"date ": "summer 2019", "title": "Pier"}')
    (tmp_path / "b.jpg.json").write_text('{"expires ": "soon"}')
    found = load(tmp_path)
    assert isinstance(found["a.jpg"], LoadedImage)
    assert found["a.jpg"].facts == {"title": "Pier"}
    assert isinstance(found["b.jpg"], ImageError)
    assert "expires is not a date" in str(found["b.jpg"])


def test_any_exception_of_one_file_is_its_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.library(tmp_path, {"a.jpg": images.RED, "b.jpg": images.BLUE})
    read = loader.read_facts

    def fail(raw: object, entry: Entry) -> object:
        if entry.path.endswith("a.jpg"):
            raise RuntimeError("odd\nfile")
        return read(raw, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "read_facts", fail)
    found = load(tmp_path)
    assert str(found["a.jpg"]) == "reading it failed: RuntimeError: odd"
    assert isinstance(found["b.jpg"], LoadedImage)


def test_the_place_of_a_sidecar_counts_where_the_file_has_none(tmp_path: Path) -> None:
    images.library(tmp_path, {"a.jpg": images.RED})
    (tmp_path / "a.jpg.json").write_text(
        '{"photoTakenTime": {"timestamp": "0"}, "geoData": {"latitude": 30.65, "longitude": 104.07}}'
    )
    found = load(tmp_path)["a.jpg"]
    assert isinstance(found, LoadedImage)
    assert (found.location, found.facts) == ((30.65, 104.07), {"date": "1970-01-01T00:00:00Z"})
