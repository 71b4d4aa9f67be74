"""When the scales of a repository are taken anew, and who waits for it."""

import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.fakes import CountingEmbedder
from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.search import calibration_cache
from xcomp_indexer.search.calibration_cache import CalibrationCache
from xcomp_indexer.store import Point
from xcomp_indexer.store.factory import open_stores


class Taken:
    """Counts how often a scale was taken, and may be told to take long."""

    def __init__(self) -> None:
        self.times = 0
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def background(self, repository: Repository, space: str) -> Vectors:
        self.times += 1
        self.begun.set()
        assert self.go.wait(60)
        return np.eye(12, dtype=np.float32)[:3]


@pytest.fixture
def repository() -> Iterator[Repository]:
    library = RepositoryCatalog(
        open_stores("memory:"), EmbedderCache(lambda _: CountingEmbedder()), default_profile="color"
    )
    made = library.create("r", profile="color")
    add(made, range(100))
    yield made
    library.close()


def add(repository: Repository, numbers: Sequence[int]) -> None:
    vector = np.eye(12, dtype=np.float32)[0]
    repository.store.upsert([Point(str(uuid.UUID(int=at)), {"color": vector}, {}) for at in numbers])


def test_a_scale_is_taken_once_and_anew_after_a_tenth(repository: Repository) -> None:
    taken = Taken()
    kept = CalibrationCache(taken.background)
    first = kept.of(repository, "color")
    add(repository, range(100, 110))
    kept.recount(repository)
    assert kept.of(repository, "color") is first
    add(repository, range(110, 111))
    kept.recount(repository)
    assert kept.of(repository, "color") is not first
    assert taken.times == 2


def test_what_is_forgotten_is_taken_anew(repository: Repository) -> None:
    kept = CalibrationCache(Taken().background)
    kept.forget(repository)  # before there is anything
    first = kept.of(repository, "color")
    kept.forget(repository)
    assert kept.of(repository, "color") is not first


def test_a_scale_that_is_forgotten_while_it_is_taken_is_taken_anew(repository: Repository) -> None:
    taken = Taken()
    kept = CalibrationCache(taken.background)
    taken.go.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(kept.of, repository, "color")
        assert taken.begun.wait(60)
        kept.forget(repository)
        taken.go.set()
        first = slow.result(60)
    assert kept.of(repository, "color") is not first
    assert taken.times == 2


def test_those_who_come_first_wait_for_one_scale(repository: Repository) -> None:
    taken = Taken()
    kept = CalibrationCache(taken.background)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: kept.of(repository, "color"), range(8)))
    assert taken.times == 1
    assert all(each is found[0] for each in found)


def test_nobody_waits_where_an_older_scale_will_do(repository: Repository) -> None:
    taken = Taken()
    kept = CalibrationCache(taken.background)
    first = kept.of(repository, "color")
    kept.forget(repository)
    taken.begun.clear()
    taken.go.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(kept.of, repository, "color")
        assert taken.begun.wait(60)
        assert kept.of(repository, "color") is first
        taken.go.set()
        assert slow.result(60) is not first


def test_the_scale_of_one_space_waits_for_no_other(repository: Repository) -> None:
    """Of which the model may have to be loaded."""
    taken = {"color": Taken(), "new": Taken()}
    kept = CalibrationCache(lambda repository, space: taken[space].background(repository, space))
    other = replace(repository.record.spaces["color"], name="new")
    repository.store.add_space("new", 12)
    repository.rewrite(lambda record: record.with_space(other))
    taken["new"].go.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(kept.of, repository, "new")
        assert taken["new"].begun.wait(60)
        kept.of(repository, "color")
        assert not slow.done()
        taken["new"].go.set()
        slow.result(60)
    assert taken["color"].times == 1


def test_a_repository_is_not_counted_for_every_search(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = CalibrationCache(Taken().background)
    first = kept.of(repository, "color")
    add(repository, range(100, 200))  # by another server
    assert kept.of(repository, "color") is first
    monkeypatch.setattr(calibration_cache, "COUNT_S", 0.0)
    assert kept.of(repository, "color") is not first
