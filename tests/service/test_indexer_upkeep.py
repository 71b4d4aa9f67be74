"""Upkeep over gRPC: a large ingest optimizes its store, others ask for it; snapshots come back."""

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import images
from tests.indexing import Indexer, serving
from tests.shim import Shim
from xcomp_indexer.store.edge.shard import ROOM_BYTES
from xcomp_indexer.store.qdrant import stores
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Exhausted, NotFound, Unavailable

SIZE = 40


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    colors = {f"{number}.jpg": (6 * number, 100, 200 - 5 * number) for number in range(SIZE)}
    return images.library(tmp_path / "photos", colors)


def events_of(indexer: Indexer, photos: Path) -> list[pb.IngestEvent]:
    return list(indexer.client.ingest(pb.IngestRequest(repository="default", paths=[str(photos)])))


def test_a_large_ingest_makes_search_fast_before_it_ends(tmp_path: Path, photos: Path) -> None:
    with serving(tmp_path / "home", graph_from=30) as indexer:
        events = events_of(indexer, photos)
        steps = [event.progress.step for event in events if event.progress.step]
        assert list(dict.fromkeys(steps)) == ["copy", "build", "carry over", "clean up"]
        assert events[-1].summary.stages["optimize"] > 0
        assert not events[-1].summary.notice
        assert len(indexer.search("blue", k=SIZE)) == SIZE
        again = events_of(indexer, photos)
        assert [event.progress.step for event in again if event.progress.step] == []


def test_a_small_ingest_leaves_its_store_alone(tmp_path: Path, photos: Path) -> None:
    with serving(tmp_path / "home") as indexer:
        events = events_of(indexer, photos)
        assert [event.progress.step for event in events if event.progress.step] == []
        assert "optimize" not in events[-1].summary.stages


def test_an_ingest_is_kept_if_its_store_cannot_be_optimized(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=ROOM_BYTES))
    with serving(tmp_path / "home", graph_from=30) as indexer:
        summary = events_of(indexer, photos)[-1].summary
        assert summary.added == SIZE
        assert "the disk has 0.1 GB left" in summary.notice
        with pytest.raises(Exhausted, match="make room first"):
            list(indexer.client.optimize("default"))


def test_a_repository_is_optimized_when_asked(tmp_path: Path, photos: Path) -> None:
    with serving(tmp_path / "home") as indexer:
        events_of(indexer, photos)
        events = list(indexer.client.optimize("default"))
        assert [events[0].step, events[-1].step] == ["copy", "clean up"]
        assert events[-1].seconds > 0
        assert len(indexer.search("blue", k=SIZE)) == SIZE
        with pytest.raises(NotFound):
            list(indexer.client.optimize("nothing"))


def test_a_snapshot_takes_the_place_of_its_repository(tmp_path: Path, photos: Path) -> None:
    home = tmp_path / "home"
    with serving(home) as indexer:
        events_of(indexer, photos)
        before = indexer.images()
        assert indexer.client.list_snapshots("default") == []
        taken = indexer.client.snapshot("default")
        assert indexer.client.list_snapshots("default") == [taken]
        assert taken.size_bytes > 0
        indexer.client.delete_repository("default")
    shutil.copytree(home / ".snapshots" / "default" / taken.name, home / "default")
    with serving(home) as indexer:
        assert indexer.images() == before
        assert len(indexer.search("blue", k=SIZE)) == SIZE


def test_an_evaluation_may_ask_for_an_exact_search(tmp_path: Path, photos: Path) -> None:
    with Shim("http") as shim, serving(tmp_path / "home", store=shim.address) as indexer:
        events_of(indexer, photos)
        for exact in (False, True):
            indexer.search("blue", k=SIZE, exact=exact)
            (asked,) = shim.backend.seen[-1].body["searches"]
            assert asked["params"].get("exact", False) == exact


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_lost_store_is_reported_and_one_that_returns_works(
    tmp_path: Path, photos: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "PATIENCE_S", 0.3)
    with ExitStack() as stack:
        shim = stack.enter_context(Shim(scheme))
        indexer = stack.enter_context(serving(tmp_path / "home", store=shim.address))
        events_of(indexer, photos)
        assert len(indexer.search("blue", k=SIZE)) == SIZE
        shim.stop()
        with pytest.raises(Unavailable, match="does not answer: check its address") as told:
            indexer.search("blue", k=SIZE)
        assert "\n" not in str(told.value)
        stack.enter_context(Shim(scheme, port=shim.port, backend=shim.backend))
        assert len(until_it_answers(indexer)) == SIZE


def until_it_answers(indexer: Indexer) -> list[str]:
    for _ in range(300):
        try:
            return indexer.search("blue", k=SIZE)
        except Unavailable:
            time.sleep(0.1)
    return indexer.search("blue", k=SIZE)
