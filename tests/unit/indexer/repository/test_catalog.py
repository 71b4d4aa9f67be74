"""Repositories of one server, and the models they share."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import CountingEmbedder
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.repository.repository import RECORD_S
from xcomp_indexer.store import Meta
from xcomp_indexer.store.factory import open_stores
from xcomp_protos.errors import Conflict, InvalidRequest, ModelError, NotFound


def reopen(home: Path, load: Callable[[str], CountingEmbedder] = lambda _: CountingEmbedder()) -> RepositoryCatalog:
    return RepositoryCatalog(open_stores(f"edge:{home}", indexes={}), EmbedderCache(load), default_profile="color")


@pytest.fixture
def library(home: Path) -> Iterator[RepositoryCatalog]:
    made = reopen(home)
    yield made
    made.close()


def test_an_unknown_repository_is_not_found_and_those_that_are_there_are_named(library: RepositoryCatalog) -> None:
    library.create("trips")
    with pytest.raises(NotFound, match=r"'nope'.*trips"):
        library.get("nope")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a" * 65, "-x", ".x", "名", "a\0b", "x" * 100_000])
def test_a_name_that_is_none_is_refused(library: RepositoryCatalog, name: str) -> None:
    for action in (library.get, library.create, library.drop, library.exists):
        with pytest.raises(InvalidRequest, match="repository"):
            action(name)


def test_a_repository_remembers_its_profile_and_models(library: RepositoryCatalog, home: Path) -> None:
    library.create("trips")
    library.close()
    again = reopen(home)
    repository = again.get("trips")
    assert (repository.profile, repository.image_size) == ("color", 64)
    assert repository.record.spaces["color"].digest == CountingEmbedder().digest
    again.close()


def test_a_contradicting_profile_is_a_conflict(library: RepositoryCatalog) -> None:
    library.create("trips")
    assert library.get("trips", profile="color").name == "trips"
    with pytest.raises(Conflict, match="made with profile 'color', not 'lite'"):
        library.get("trips", profile="lite")
    with pytest.raises(InvalidRequest, match="'sepia' is unknown"):
        library.get("trips", profile="sepia")


def test_creating_twice_is_a_conflict(library: RepositoryCatalog) -> None:
    library.create("trips")
    with pytest.raises(Conflict, match="exists already"):
        library.create("trips")


def test_creating_twice_loads_no_model(library: RepositoryCatalog, home: Path) -> None:
    def missing(model: str) -> CountingEmbedder:
        raise ModelError(f"{model} is not on this machine")

    library.create("trips")
    library.close()
    again = reopen(home, missing)
    with pytest.raises(Conflict, match="exists already"):
        again.create("trips", profile="lite")
    again.close()


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind(home: Path) -> None:
    def fail(_: str) -> CountingEmbedder:
        raise ModelError("no weights here")

    library = reopen(home, fail)
    with pytest.raises(Conflict, match="no weights here"):
        library.get_or_create("trips")
    assert library.names() == []


def test_other_weights_than_recorded_are_a_conflict(library: RepositoryCatalog) -> None:
    repository = library.create("trips")
    library.models.get("color:hsv").digest = "0" * 64  # type: ignore[misc]  # the fake's is plain
    with pytest.raises(Conflict, match="another version"):
        library.embedder(repository, "color")


def test_many_callers_make_one_repository(library: RepositoryCatalog) -> None:
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(library.get_or_create("trips"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len(set(map(id, got))) == 1


def test_a_repository_can_be_used_while_another_model_loads(home: Path) -> None:
    loading, release = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def load(model: str) -> CountingEmbedder:
        if model.startswith("lite"):
            loading.set()
            in_time.append(release.wait(60))  # else what follows had to wait for it
        return CountingEmbedder()

    library = reopen(home, load)
    repository = library.create("quick")
    thread = threading.Thread(target=library.get_or_create, args=("slow",), kwargs={"profile": "lite"})
    thread.start()
    assert loading.wait(60)
    assert library.get("quick") is repository
    assert library.embedder(repository, "color").name == "color:hsv"
    assert library.models.names() == ["color:hsv"]
    release.set()
    thread.join()
    assert in_time == [True]
    assert library.names() == ["quick", "slow"]
    library.close()


@pytest.mark.parametrize("work", ["open", "drop"])
def test_a_repository_can_be_used_while_another_is_opened_or_removed(
    home: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    before = reopen(home)
    for name in ("quick", "slow"):
        before.create(name)
    before.close()
    library = reopen(home)
    quick = library.get("quick")
    begun, go = threading.Event(), threading.Event()
    do = getattr(library.stores, work)

    def slowly(name: str) -> object:
        begun.set()
        assert go.wait(60)
        return do(name)

    monkeypatch.setattr(library.stores, work, slowly)
    threads = [threading.Thread(target=library.get if work == "open" else library.drop, args=("slow",))]
    threads[0].start()
    assert begun.wait(60)
    assert library.get("quick") is quick
    library.create("another")
    found: list[object] = []
    threads.append(threading.Thread(target=lambda: found.append(_found(library, "slow"))))
    threads[1].start()
    time.sleep(0.05)
    assert not found  # who wants the same one waits
    go.set()
    for thread in threads:
        thread.join(60)
    assert found == [work == "open"]
    library.close()


def _found(library: RepositoryCatalog, name: str) -> bool:
    try:
        return library.get(name).name == name
    except NotFound:
        return False


def test_the_record_is_read_again_by_one_while_the_others_go_on(
    library: RepositoryCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not beside a change of it either, which would be forgotten."""
    repository = library.create("trips")
    begun, go = threading.Event(), threading.Event()
    read = repository.store.meta

    def slowly() -> Meta:
        begun.set()
        assert go.wait(60)
        return read()

    monkeypatch.setattr(repository.store, "meta", slowly)
    repository.read_at -= 2 * RECORD_S
    thread = threading.Thread(target=library.get, args=("trips",))
    thread.start()
    assert begun.wait(60)
    assert library.get("trips") is repository
    changing = threading.Thread(target=repository.rewrite, args=(lambda record: replace(record, profile="color"),))
    changing.start()
    go.set()
    for each in (thread, changing):
        each.join(60)
    assert repository.record.profile == "color"
    assert time.monotonic() - repository.read_at < RECORD_S


def test_dropping_removes_it_and_its_name_can_be_used_again(library: RepositoryCatalog) -> None:
    before = library.create("trips")
    assert library.drop("trips") == 0
    assert library.names() == []
    after = library.create("trips")
    assert library.is_open(after)
    assert not library.is_open(before)


def test_dropping_while_it_is_indexed_is_a_conflict(library: RepositoryCatalog) -> None:
    repository = library.create("trips")
    with repository.ingesting, pytest.raises(Conflict, match="being indexed"):
        library.drop("trips")
    assert library.get("trips") is repository


def test_a_repository_without_a_record_of_models_says_so_and_can_be_dropped(library: RepositoryCatalog) -> None:
    library.create("trips").store.set_meta({"models": {"color": {"model": "x"}}})
    library.get("trips").store.close()
    fresh = RepositoryCatalog(library.stores, library.models, default_profile="color")
    with pytest.raises(Conflict, match="xcomp repo delete trips"):
        fresh.get("trips")
    assert fresh.drop("trips") == 0


def test_a_repository_whose_manifest_is_damaged_can_be_dropped(library: RepositoryCatalog, home: Path) -> None:
    library.create("trips")
    library.close()
    for manifest in (home / "trips").glob("*.json"):
        manifest.write_text("{")
    fresh = reopen(home)
    fresh.drop("trips")
    assert fresh.names() == []


def test_a_crash_between_making_and_recording_leaves_nothing_in_the_way(home: Path) -> None:
    open_stores(f"edge:{home}", indexes={}).create("trips", {"color": 12}).close()
    library = reopen(home)
    with pytest.raises(NotFound):
        library.get("trips")
    assert library.get_or_create("trips").profile == "color"
    library.close()


def test_models_are_loaded_once_and_freed_when_idle() -> None:
    loads: list[str] = []

    def load(model: str) -> CountingEmbedder:
        loads.append(model)
        time.sleep(0.05)
        return CountingEmbedder()

    models = EmbedderCache(load)
    threads = [threading.Thread(target=models.get, args=("color:hsv",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["color:hsv"]
    models.free_idle(60)
    assert models.names() == ["color:hsv"]
    models.free_idle(0)
    assert models.names() == []
    models.get("color:hsv")
    assert len(loads) == 2
