"""When the calibrations of a repository are computed again, and which calls wait for it."""

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


class CountingBackground:
    """Counts its calls, one for each calibration, and can be made to wait."""

    def __init__(self) -> None:
        self.times = 0
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def embed(self, repository: Repository, space: str) -> Vectors:
        self.times += 1
        self.begun.set()
        assert self.go.wait(60)
        return np.eye(12, dtype=np.float32)[:3]


@pytest.fixture
def repository() -> Iterator[Repository]:
    catalog = RepositoryCatalog(
        open_stores("memory:"), EmbedderCache(lambda _: CountingEmbedder()), default_profile="color"
    )
    repository = catalog.create("r", profile="color")
    add(repository, range(100))
    yield repository
    catalog.close()


def add(repository: Repository, numbers: Sequence[int]) -> None:
    vector = np.eye(12, dtype=np.float32)[0]
    repository.store.upsert([Point(str(uuid.UUID(int=at)), {"color": vector}, {}) for at in numbers])


def test_a_calibration_is_computed_once_and_again_after_a_change_by_a_tenth(repository: Repository) -> None:
    background = CountingBackground()
    cache = CalibrationCache(background.embed)
    first = cache.get(repository, "color")
    add(repository, range(100, 110))
    cache.recount(repository)
    assert cache.get(repository, "color") is first
    add(repository, range(110, 111))
    cache.recount(repository)
    assert cache.get(repository, "color") is not first
    assert background.times == 2


def test_a_forgotten_calibration_is_computed_again(repository: Repository) -> None:
    cache = CalibrationCache(CountingBackground().embed)
    cache.forget(repository)  # before there is anything
    first = cache.get(repository, "color")
    cache.forget(repository)
    assert cache.get(repository, "color") is not first


def test_a_calibration_that_is_forgotten_while_it_is_computed_is_computed_again(repository: Repository) -> None:
    background = CountingBackground()
    cache = CalibrationCache(background.embed)
    background.go.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, repository, "color")
        assert background.begun.wait(60)
        cache.forget(repository)
        background.go.set()
        first = slow.result(60)
    assert cache.get(repository, "color") is not first
    assert background.times == 2


def test_the_first_calls_wait_for_one_calibration(repository: Repository) -> None:
    background = CountingBackground()
    cache = CalibrationCache(background.embed)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.get(repository, "color"), range(8)))
    assert background.times == 1
    assert all(each is found[0] for each in found)


def test_no_call_waits_where_there_is_a_previous_calibration(repository: Repository) -> None:
    background = CountingBackground()
    cache = CalibrationCache(background.embed)
    first = cache.get(repository, "color")
    cache.forget(repository)
    background.begun.clear()
    background.go.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, repository, "color")
        assert background.begun.wait(60)
        assert cache.get(repository, "color") is first
        background.go.set()
        assert slow.result(60) is not first


def test_the_calibration_of_one_space_waits_for_no_other(repository: Repository) -> None:
    """The model of a new space may have to be loaded."""
    background = {"color": CountingBackground(), "new": CountingBackground()}
    cache = CalibrationCache(lambda repository, space: background[space].embed(repository, space))
    other = replace(repository.record.spaces["color"], name="new")
    repository.store.add_space("new", 12)
    repository.rewrite(lambda record: record.with_space(other))
    background["new"].go.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, repository, "new")
        assert background["new"].begun.wait(60)
        cache.get(repository, "color")
        assert not slow.done()
        background["new"].go.set()
        slow.result(60)
    assert background["color"].times == 1


def test_a_repository_is_not_counted_for_every_search(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CalibrationCache(CountingBackground().embed)
    first = cache.get(repository, "color")
    add(repository, range(100, 200))  # by another server
    assert cache.get(repository, "color") is first
    monkeypatch.setattr(calibration_cache, "COUNT_S", 0.0)
    assert cache.get(repository, "color") is not first
