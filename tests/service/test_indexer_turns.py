"""Ingests that are cut short, meet each other, or meet a search."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import images
from tests.indexing import Indexer, counts
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.search import calibration_cache
from xcomp_indexer.search.calibration import Calibration, calibrate
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Cancelled, Conflict, NotFound
from xcomp_protos.telemetry import api

COLORS = {"red.jpg": images.RED, "sub/green.jpg": images.GREEN, "sub/blue.jpg": images.BLUE}


def test_cancelling_keeps_what_is_done_and_the_next_run_completes(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {f"{at:02}.jpg": images.RED for at in range(60)})
    stream = indexer.client.ingest(pb.IngestRequest(repository="default", paths=[str(photos)]))
    for event in stream:
        if event.progress.done >= 16:
            break
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    summary, _ = indexer.ingest(photos)
    assert summary.unchanged >= 16
    assert summary.added + summary.unchanged == 60
    assert indexer.embedder.images <= 60 + 16


def test_a_cancelled_ingest_that_waits_for_its_turn_gives_up(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    repository = indexer.library.get("default")
    ended = threading.Event()

    def wait(stream: Iterator[pb.IngestEvent]) -> None:
        with pytest.raises(Cancelled):
            next(stream)
        ended.set()

    with repository.ingesting, IndexerClient(indexer.address) as other:
        stream = other.ingest(pb.IngestRequest(repository="default", paths=[str(photos)]))
        threading.Thread(target=wait, args=(stream,)).start()
        time.sleep(0.1)
        other.close()
        assert ended.wait(60)
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 3, "unchanged": 3}


def test_two_ingests_of_one_repository_take_turns(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.embedder.open.clear()
    summaries: list[pb.IngestSummary] = []
    threads = [threading.Thread(target=lambda: summaries.append(indexer.ingest(photos)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert indexer.embedder.waiting.wait(60)
    indexer.embedder.open.set()
    for thread in threads:
        thread.join(60)
    assert sorted((summary.added, summary.unchanged) for summary in summaries) == [(0, 3), (3, 0)]
    assert indexer.embedder.images == 3


def test_search_and_upkeep_work_while_an_ingest_runs(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    (photos / "new.jpg").write_bytes(images.jpeg(images.YELLOW))
    indexer.embedder.open.clear()
    thread = threading.Thread(target=indexer.ingest, args=(photos,))
    thread.start()
    assert indexer.embedder.waiting.wait(60)
    assert indexer.search("green", k=1) == ["green.jpg"]
    assert indexer.client.describe().repositories[0].images == 3
    with pytest.raises(Conflict, match="being indexed"):
        indexer.client.delete_repository("default")
    indexer.embedder.open.set()
    thread.join(60)
    assert indexer.search("yellow", k=1) == ["new.jpg"]


@contextmanager
def searching(indexer: Indexer, begun: threading.Event, go: threading.Event) -> Iterator[None]:
    """Keeps a search at what it has begun while the body runs, then lets it go on and end."""
    thread = threading.Thread(target=indexer.search, args=("blue",))
    thread.start()
    assert begun.wait(60)
    yield
    assert thread.is_alive()
    go.set()
    thread.join(60)
    assert not thread.is_alive()


def test_searches_go_on_while_one_takes_the_scale_anew(
    indexer: Indexer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of a single text, which go to the store together."""
    images.library(photos, COLORS)
    indexer.ingest(photos)
    indexer.search("green")
    (photos / "new.jpg").write_bytes(images.jpeg(images.YELLOW))
    indexer.ingest(photos)
    begun, go = threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> Calibration:
        begun.set()
        assert go.wait(60)
        return calibrate(*arguments)

    monkeypatch.setattr(calibration_cache, "calibrate", slowly)
    with searching(indexer, begun, go):
        assert indexer.search("yellow", k=1) == ["new.jpg"]


def test_searches_go_on_while_one_waits_for_its_model(
    indexer: Indexer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    indexer.search("green")
    begun, go = threading.Event(), threading.Event()
    get = indexer.library.models.get

    def slowly_at_first(model: str) -> Embedder:
        if not begun.is_set():
            begun.set()
            assert go.wait(60)
        return get(model)

    monkeypatch.setattr(indexer.library.models, "get", slowly_at_first)
    with searching(indexer, begun, go):
        assert indexer.search("red", k=1) == ["red.jpg"]


def test_an_ingest_that_waited_for_a_repository_that_went_is_told(
    indexer: Indexer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    failed: list[str] = []
    waits = threading.Event()

    @contextmanager
    def waiting(queue: str) -> Iterator[None]:
        waits.set()
        yield

    def ingest() -> None:
        try:
            indexer.ingest(photos)
        except NotFound as error:
            failed.append(str(error))

    monkeypatch.setattr(api, "count_waiting", waiting)
    thread = threading.Thread(target=ingest)
    with indexer.library.get("default").ingesting:
        thread.start()
        assert waits.wait(60)
        indexer.library._close_and_count("default")  # as `drop` does, which has the turn then
    thread.join(60)
    assert failed == ["repository 'default' was deleted while this ingest waited: run it again"]
