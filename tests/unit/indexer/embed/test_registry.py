"""The registry of families: one module and one row make a new family index, search, and be named in messages."""

from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from xcomp_indexer import embed
from xcomp_indexer.embed import registry
from xcomp_indexer.embed.weights import sources
from xcomp_indexer.ingest.events import IngestRequest, Summary
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.search.engine import SearchEngine
from xcomp_indexer.search.query import Part, SearchRequest
from xcomp_indexer.store.factory import open_stores
from xcomp_protos.errors import InvalidRequest, ModelError

TOY = registry.Family(
    name="toy",
    module="tests.unit.indexer.embed.toy_family",
    release=partial(sources.parse_release, files=(), weights=("toy.txt",)),
)


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FAMILIES, "toy", TOY)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model of the family, in a folder."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "toy.txt").write_text("first")
    return f"toy:{tmp_path / 'model'}"


def test_a_family_of_one_module_and_one_row_indexes_and_searches(tmp_path: Path, model: str) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for color in ("red", "blue", "green"):
        Image.new("RGB", (64, 48), color).save(images / f"{color}.png")
    profile = f"toy={model}"
    catalog = RepositoryCatalog(open_stores(f"edge:{tmp_path / 'home'}"), EmbedderCache(), default_profile=profile)
    try:
        repository = catalog.create("a")
        *_, summary = Ingest(repository, partial(catalog.embedder, repository), IngestRequest([str(images)])).run()
        assert isinstance(summary, Summary)
        assert summary.added == 3
        assert repository.record.spaces["toy"].model == "toy:first"
        (answer,) = SearchEngine(catalog).answer(repository, SearchRequest([[Part(text="blue")]], k=1))
        assert [Path(str(hit.found.payload["path"])).name for hit in answer.hits] == ["blue.png"]
    finally:
        catalog.close()


def test_a_missing_file_is_reported_before_the_module_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.FAMILIES, "toy", registry.Family("toy", "no_such_module", TOY.release))
    with pytest.raises(ModelError, match=r"toy\.txt is missing in"):
        embed.load(f"toy:{tmp_path}")


def test_a_missing_library_is_named_with_the_install_command_of_the_family(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = registry.Family("toy", TOY.module, TOY.release, libraries=("no_such_library",), install="make toy")
    monkeypatch.setitem(registry.FAMILIES, "toy", row)
    with pytest.raises(ModelError, match="needs no_such_library: install it with make toy"):
        embed.load(model)


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="use one of chinese_clip, color, lite, open_clip, toy"):
        embed.load("other:x")
