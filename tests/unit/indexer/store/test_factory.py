"""The registry of stores: a store is a module and a row."""

from pathlib import Path

import pytest

from tests.fakes import CountingEmbedder
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.store import factory
from xcomp_indexer.store.factory import StoreKind, open_stores
from xcomp_protos.errors import InvalidRequest

TOY = StoreKind(("toy",), "toy:SHELF", "tests.unit.indexer.store.toy_stores")


def test_a_row_adds_a_store_that_a_catalog_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "KINDS", (*factory.KINDS, TOY))
    stores = open_stores("toy:top")
    assert stores.place == "toy:top"
    catalog = RepositoryCatalog(stores, EmbedderCache(lambda _: CountingEmbedder()), default_profile="color")
    catalog.create("photos")
    assert catalog.names() == ["photos"]
    assert catalog.get("photos").store.spaces() == {"color": 12}
    catalog.close()


def test_messages_name_the_addresses_of_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "KINDS", (*factory.KINDS, TOY))
    with pytest.raises(InvalidRequest, match=r"'s3:bucket': use edge:FOLDER, http.*, memory:, toy:SHELF$"):
        open_stores("s3:bucket")
    with pytest.raises(InvalidRequest, match="name a shelf, as in toy:SHELF"):
        open_stores("toy:")


def test_an_embedded_store_is_opened_by_its_folder(tmp_path: Path) -> None:
    assert open_stores(f"edge:{tmp_path}").place == f"edge:{tmp_path}"
