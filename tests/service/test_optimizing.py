"""While an ingest fills a store, what it writes is sealed; the ingest waits only where it is far ahead."""

import shutil
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests import images
from tests.fakes import OtherEmbedder
from tests.indexing import serving
from tests.service.test_store_contract import an_id
from xcomp_indexer.embed.color import ColorEmbedder
from xcomp_indexer.images import decode
from xcomp_indexer.ingest.compaction import (
    with_compaction,
)
from xcomp_indexer.ingest.events import Event, Failure, Progress, Summary
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.store import Point
from xcomp_indexer.store.compactor import (
    _PAUSE_S,
    BackgroundCompactor,
)
from xcomp_indexer.store.edge.shard import ROOM_BYTES
from xcomp_indexer.store.edge.stores import EdgeStores
from xcomp_protos import indexer_pb2 as pb

SEAL_FROM = 100


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    stores = EdgeStores(tmp_path / "home", indexes={}, seal_from=SEAL_FROM)
    library = RepositoryCatalog(stores, EmbedderCache(lambda model: ColorEmbedder()), default_profile="color")
    yield library.get_or_create("default")
    library.close()


def write(repository: Repository, start: int, count: int) -> None:
    (space, width), *_ = repository.store.spaces().items()
    rows = np.eye(width, dtype=np.float32)
    numbers = range(start, start + count)
    repository.store.upsert([Point(an_id(number), {space: rows[number % width]}, {}) for number in numbers])


def ingest(repository: Repository, *batches: int) -> Generator[Event, None, None]:
    """Writes so many points, batch after batch, with progress after each."""
    done = 0
    for count in batches:
        write(repository, done, count)
        done += count
        yield Progress(done, done, sum(batches), 1.0)
    yield Summary(done, done, 0, 0, 0, 0, 0, 0, 1.0, 1.0, {})


def told(events: Generator[Event, None, None]) -> tuple[list[str], Summary]:
    """Returns the steps that were told, in their order without repetition, and the summary."""
    *before, summary = events
    assert isinstance(summary, Summary)
    return list(dict.fromkeys(event.step for event in before if isinstance(event, Progress) and event.step)), summary


def test_an_ingest_far_ahead_waits_until_what_it_wrote_is_sealed(repository: Repository) -> None:
    events = with_compaction(repository, ingest(repository, 2 * SEAL_FROM, 10))
    first, waiting = next(events), next(events)
    assert isinstance(first, Progress)
    assert isinstance(waiting, Progress)
    assert (first.step, waiting.step) == ("", "seal")
    assert (waiting.done, waiting.total) == (first.done, first.total)
    _, summary = told(events)
    assert summary.added == 2 * SEAL_FROM + 10
    assert repository.store.backlog() == 0
    assert repository.store.count() == 2 * SEAL_FROM + 10


def test_an_ingest_a_little_ahead_goes_on_meanwhile(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go, seal = threading.Event(), repository.store.seal

    def slow() -> Generator[object, None, None]:
        assert let_go.wait(30)
        yield from seal()

    monkeypatch.setattr(repository.store, "seal", slow)
    events = with_compaction(repository, ingest(repository, SEAL_FROM, 50, 40))
    progress = [next(events) for _ in range(3)]
    assert [event.step for event in progress if isinstance(event, Progress)] == ["", "", ""]
    let_go.set()
    steps, summary = told(events)
    assert steps == ["seal"]
    assert summary.added == SEAL_FROM + 90
    assert repository.store.count() == SEAL_FROM + 90
    assert repository.store.backlog() < 1


def test_what_is_left_is_sealed_at_the_end(repository: Repository) -> None:
    def hidden() -> Generator[Event, None, None]:
        yield from (event for event in ingest(repository, SEAL_FROM) if isinstance(event, Summary))

    steps, summary = told(with_compaction(repository, hidden()))
    assert steps == ["copy", "build", "carry over", "clean up"]
    assert summary.stages["optimize"] > 0
    assert repository.store.backlog() == 0


def test_a_store_that_cannot_be_sealed_takes_nothing_from_its_ingest(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=ROOM_BYTES))
    _, summary = told(with_compaction(repository, ingest(repository, 2 * SEAL_FROM, 10, 2 * SEAL_FROM)))
    assert repository.store.count() == 4 * SEAL_FROM + 10
    assert "the disk has 0.1 GB left" in summary.notice


def test_an_ingest_beside_somebody_who_optimizes_says_nothing_of_it(repository: Repository) -> None:
    write(repository, 0, 10)
    other = repository.store.optimize()
    next(other)
    _, summary = told(with_compaction(repository, ingest(repository, SEAL_FROM)))
    other.close()
    assert summary.notice == ""
    assert repository.store.count() == SEAL_FROM


def test_failures_pass_and_leaving_early_ends_the_ingest(repository: Repository) -> None:
    ended: list[bool] = []

    def failing() -> Generator[Event, None, None]:
        try:
            yield Failure("a.jpg", "truncated", "it ends early")
            yield Progress(1, 1, 1, 1.0)
        finally:
            ended.append(True)

    events = with_compaction(repository, failing())
    assert isinstance(next(events), Failure)
    events.close()
    assert ended == [True]


def test_uploads_are_sealed_behind_their_answers(tmp_path: Path) -> None:
    with serving(tmp_path / "home", seal_from=10) as indexer:
        for number in range(30):
            content = images.jpeg((6 * number, 100, 200 - 5 * number))
            digest = decode.content_hash(content)
            header = pb.UploadHeader(
                repository="default", name=f"{number}.jpg", size_bytes=len(content), content_hash=digest
            )
            indexer.client.upload(header, [content])
        store = indexer.library.get("default").store
        deadline = time.monotonic() + 60
        while store.backlog() >= 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert store.count() == 30


def test_what_could_not_be_sealed_is_tried_again_after_a_rest(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repository, 0, SEAL_FROM)
    sealing = BackgroundCompactor(repository.store, repository.name)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=ROOM_BYTES))
        sealing.begin()
        list(sealing.wait())
    assert sealing.begin() == 0
    rested = time.monotonic() + _PAUSE_S
    monkeypatch.setattr(time, "monotonic", lambda: rested)
    assert sealing.begin() == 1
    list(sealing.wait())
    assert repository.store.backlog() == 0


def test_what_an_import_and_a_new_space_write_is_sealed_as_well(tmp_path: Path) -> None:
    colors = {f"{number}.jpg": (6 * number, 100, 200 - 5 * number) for number in range(30)}
    photos = images.library(tmp_path / "photos", colors)
    with serving(tmp_path / "home", seal_from=10, others={"other:colors": OtherEmbedder()}) as indexer:
        indexer.ingest(photos)
        indexer.client.import_("copy", indexer.client.export("default"))
        copied = indexer.library.get("copy").store
        assert (copied.count(), copied.backlog()) == (30, 0)
        request = pb.AddSpaceRequest(repository="default", space="new", model="other:colors")
        *_, last = indexer.client.add_space(request)
        assert last.summary.filled == 30
        deadline = time.monotonic() + 60  # it goes on behind the answer
        while indexer.library.get("default").store.backlog() >= 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(indexer.search("blue", k=30)) == 30
