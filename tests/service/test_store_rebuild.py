"""The embedded store is rebuilt while it serves: nothing is lost, no call waits, and a crash loses only the rebuild."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.service.test_store_contract import an_id
from xcomp_indexer.store import Match, Point, Store, VectorQuery, search_params
from xcomp_indexer.store.edge.store import EdgeStore
from xcomp_indexer.store.edge.stores import EdgeStores
from xcomp_indexer.store.factory import open_stores
from xcomp_protos.errors import Conflict, Exhausted, Unavailable

SIZE, WIDTH, GRAPH_FROM = 400, 16, 300

REBUILDER = """
import os, signal, sys
from pathlib import Path
from xcomp_indexer.store.edge.stores import EdgeStores
store = EdgeStores(Path(sys.argv[1]), indexes={}, graph_from=300).open("a")
for step in store.optimize():
    if step.name == sys.argv[2]:
        store.set_payload(sys.argv[3:], {"late": 1})
        print(store._handle.builder.pid if store._handle.builder else 0, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def stores(tmp_path: Path) -> EdgeStores:
    return EdgeStores(tmp_path, indexes={"kind": "integer"}, graph_from=GRAPH_FROM)


@pytest.fixture
def store(stores: EdgeStores) -> Iterator[EdgeStore]:
    store = stores.create("a", {"en": WIDTH})
    store.upsert(points(range(SIZE)))
    yield store
    store.close()


def points(numbers: range, seed: int = 0) -> list[Point]:
    return [Point(an_id(each), {"en": unit(seed + each)}, {"kind": each % 5, "seed": seed}) for each in numbers]


def unit(seed: int, width: int = WIDTH) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).normal(size=width)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def shards(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "a").glob("shard*"))


def count_indexed(store: EdgeStore) -> int:
    with store._handle.use_engine() as engine:
        return engine.info().indexed_vectors_count


def test_a_large_repository_gets_a_graph_and_finds_what_an_exact_search_finds(
    stores: EdgeStores, store: EdgeStore, tmp_path: Path
) -> None:
    assert store.wants_optimizing()
    names = list(dict.fromkeys(step.name for step in store.optimize()))
    assert names == ["copy", "build", "carry over", "clean up"]
    assert not store.wants_optimizing()
    assert count_indexed(store) == SIZE
    assert shards(tmp_path) == ["shard-1"]
    found = [query(store, seed, exact=False) for seed in range(50)]
    exact = [query(store, seed, exact=True) for seed in range(50)]
    same = sum(len(mine.keys() & other.keys()) for mine, other in zip(found, exact, strict=True))
    assert same >= 0.99 * 500
    for mine, other in zip(found, exact, strict=True):
        assert {each: other[each] for each in mine if each in other} == pytest.approx(
            {each: score for each, score in mine.items() if each in other}, abs=2e-6
        )  # rescored: a score is a cosine, not a guess from codes
    store.close()
    store = stores.open("a")
    assert query(store, 1, exact=True) == exact[1]
    assert store.count(Match("kind", (3,))) == SIZE // 5
    store.close()


def query(store: Store, seed: int, *, exact: bool) -> dict[str, float]:
    (hits,) = store.near([VectorQuery("en", unit(10_000 + seed), 10, exact=exact)])
    return {hit.id: hit.score for hit in hits}


def test_a_small_repository_is_compacted_and_searched_exactly(store: EdgeStore) -> None:
    store.delete([an_id(number) for number in range(200)])
    assert not store.wants_optimizing()
    for _ in store.optimize():
        pass
    assert count_indexed(store) == 200  # sealed: the engine counts that as indexed
    assert store.count() == 200
    assert query(store, 1, exact=False) == query(store, 1, exact=True)
    with store._handle.use_engine() as engine:
        assert engine.info().points_count == 200


def test_a_graph_wants_to_be_rebuilt_when_much_was_added(store: EdgeStore) -> None:
    list(store.optimize())
    store.upsert(points(range(SIZE, SIZE + 149)))
    assert not store.wants_optimizing()
    store.upsert(points(range(SIZE + 149, SIZE + 150)))
    assert store.wants_optimizing()
    list(store.optimize())
    assert count_indexed(store) == SIZE + 150
    assert query(store, 3, exact=False) == query(store, 3, exact=True)


def test_what_was_written_is_sealed_and_searched_as_before(tmp_path: Path) -> None:
    stores = EdgeStores(tmp_path, indexes={"kind": "integer"}, index_from=10, seal_from=100)
    store = stores.create("a", {"en": WIDTH})
    store.upsert(points(range(99)))
    assert store.backlog() == 0
    store.upsert(points(range(99, SIZE)))
    assert store.backlog() == SIZE / 100
    before = ([query(store, seed, exact=True) for seed in range(10)], list(store.scan(vectors=True)))
    assert {step.name for step in store.seal()} == {"copy", "build", "carry over", "clean up"}
    assert store.backlog() == 0
    assert not store.wants_optimizing()
    for again in ("at once", "opened again"):
        assert [query(store, seed, exact=False) for seed in range(10)] == before[0], again
        same = zip(store.scan(vectors=True), before[1], strict=True)
        assert all(
            mine.payload == other.payload and (mine.vectors["en"] == other.vectors["en"]).all() for mine, other in same
        )
        assert store.count(Match("kind", (3,))) == SIZE // 5
        store.close()
        store = stores.open("a")
    store.close()


def test_the_more_is_sealed_the_rarer_it_is_done(tmp_path: Path) -> None:
    store = EdgeStores(tmp_path, indexes={}, seal_from=10).create("a", {"en": WIDTH})
    store.upsert(points(range(SIZE)))
    list(store.seal())
    store.upsert(points(range(SIZE, SIZE + SIZE // 8 - 1)))
    assert 0.9 < store.backlog() < 1
    store.upsert(points(range(SIZE + SIZE // 8 - 1, SIZE + SIZE // 8)))
    assert store.backlog() == 1
    store.close()


def test_sealing_leaves_a_graph_its_links_and_makes_none(tmp_path: Path) -> None:
    store = EdgeStores(tmp_path, indexes={}, seal_from=10, graph_from=GRAPH_FROM).create("a", {"en": WIDTH})
    store.upsert(points(range(SIZE)))
    list(store.seal())
    assert store.wants_optimizing()  # a sealed store is searched one by one
    list(store.optimize())
    assert not store.wants_optimizing()
    store.upsert(points(range(SIZE, SIZE + 100)))
    list(store.seal())
    assert count_indexed(store) == SIZE + 100
    assert not store.wants_optimizing()
    store.upsert(points(range(SIZE + 100, SIZE + 100 + GRAPH_FROM // 2)))
    assert store.wants_optimizing()
    store.close()


def test_a_graph_that_grew_large_by_sealing_is_searched_with_more_effort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_params, "_LARGE_FROM", SIZE + 100)
    store = EdgeStores(tmp_path, indexes={}, seal_from=10, graph_from=GRAPH_FROM).create("a", {"en": WIDTH})
    store.upsert(points(range(SIZE)))
    list(store.optimize())
    assert store._params.hnsw_ef != search_params.LARGE
    store.upsert(points(range(SIZE, SIZE + 100)))
    list(store.seal())
    assert store._params.hnsw_ef == search_params.LARGE
    store.close()


def test_a_disk_that_fills_up_during_a_build_leaves_the_repository_as_it_was(
    store: EdgeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = store.optimize()
    while next(steps).name != "carry over":
        pass
    store.delete([an_id(SIZE - 1)])
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
        with pytest.raises(Exhausted, match="has 1 MB left: make room"):
            next(steps)
    assert store.count() == SIZE - 1
    assert len(query(store, 1, exact=False)) == 10
    assert shards(tmp_path) == ["shard"]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_during_a_build_is_all_there(store: EdgeStore, seed: int) -> None:
    oracle = open_stores("memory:").create("a", {"en": WIDTH})
    oracle.upsert(points(range(SIZE)))
    chance = random.Random(seed)
    for _ in range(2):
        for _ in store.optimize():
            for _ in range(3):
                change = random_change(chance)
                for each in (store, oracle):
                    change(each)
    pairs = zip(store.scan(vectors=True), oracle.scan(vectors=True), strict=True)
    for mine, other in pairs:
        assert (mine.id, mine.payload, mine.vectors.keys()) == (other.id, other.payload, other.vectors.keys())
        for space, vector in mine.vectors.items():
            np.testing.assert_allclose(vector, other.vectors[space], atol=1e-6)
    assert store.spaces() == oracle.spaces()
    for seed in range(20):
        assert query(store, seed, exact=True) == pytest.approx(query(oracle, seed, exact=True), abs=2e-6)


class random_change:  # noqa: N801  # reads as a function: made of chance, done to a store
    def __init__(self, chance: random.Random) -> None:
        self.kind = chance.choice(["upsert", "delete", "payload", "vectors", "space"])
        self.seed = chance.randrange(1000)
        self.numbers = chance.sample(range(2 * SIZE), chance.randrange(1, 60))
        self.width = chance.choice([3, 5])

    def __call__(self, store: Store) -> None:
        ids = [an_id(number) for number in self.numbers]
        if self.kind == "upsert":
            store.upsert([each for number in self.numbers for each in points(range(number, number + 1), self.seed)])
        elif self.kind == "delete":
            store.delete(ids)
        elif self.kind == "payload":
            store.set_payload(ids, {"changed": self.seed, "seed": None})
        elif self.kind == "vectors":
            store.set_vectors("en", {each: unit(self.seed) for each in ids})
        else:  # dropped and made again with another width, so that no old vector may survive
            store.drop_space("zh")
            store.add_space("zh", self.width)
            store.set_vectors("zh", {each: unit(self.seed, self.width) for each in ids})


def test_searches_and_writes_go_on_during_a_build(store: EdgeStore) -> None:
    def search(turn: int) -> None:
        assert len(query(store, turn, exact=False)) == 10
        assert len(list(store.scan(fields=[]))) >= SIZE

    def write(turn: int) -> None:
        store.upsert(points(range(SIZE + 20 * turn, SIZE + 20 * turn + 20)))

    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        lanes = [pool.submit(until, stop, work) for work in (search, write)]
        list(store.optimize())
        stop.set()
        turns = [lane.result() for lane in lanes]
    assert min(turns) > 5
    assert store.count() == SIZE + 20 * turns[1]


def until(stop: threading.Event, work: Callable[[int], None]) -> int:
    turns = 0
    while not stop.is_set():
        work(turns)
        turns += 1
        time.sleep(0.01)
    return turns


@pytest.mark.parametrize("step", ["copy", "build", "carry over", "clean up"])
def test_a_crash_at_any_step_leaves_one_whole_shard(
    stores: EdgeStores, store: EdgeStore, tmp_path: Path, step: str
) -> None:
    store.close()
    late = [an_id(number) for number in range(7)]
    killed = subprocess.run(
        [sys.executable, "-c", REBUILDER, str(tmp_path), step, *late], stdout=subprocess.PIPE, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    wait_until_gone(int(killed.stdout))
    store = stores.open("a")
    assert shards(tmp_path) == ["shard-1" if step == "clean up" else "shard"]
    assert store.count() == SIZE
    assert [found.id for found in store.scan(where=Match("late", (1,)))] == late
    list(store.optimize())
    assert count_indexed(store) == SIZE
    store.close()


def wait_until_gone(pid: int) -> None:
    for _ in range(600):
        if not pid or not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"the builder {pid} outlived its server")


def test_a_builder_that_is_killed_costs_only_the_rebuild(store: EdgeStore, tmp_path: Path) -> None:
    steps = store.optimize()
    assert [next(steps).name, next(steps).name] == ["copy", "build"]
    assert store._handle.builder
    store._handle.builder.kill()
    with pytest.raises(Unavailable, match="ended by signal 9, perhaps because memory ran out") as failed:
        list(steps)
    assert "\n" not in str(failed.value)
    assert shards(tmp_path) == ["shard"]
    assert store.count() == SIZE
    list(store.optimize())
    assert count_indexed(store) == SIZE


def test_a_builder_that_fails_gives_its_reason(store: EdgeStore, tmp_path: Path) -> None:
    steps = store.optimize()
    assert [next(steps).name, next(steps).name] == ["copy", "build"]
    shutil.rmtree(tmp_path / "a" / "shard-1")
    with pytest.raises(Unavailable, match=r"it is unchanged: .*shard-1") as failed:
        list(steps)
    assert "\n" not in str(failed.value)
    assert store.count() == SIZE


def test_a_rebuild_that_is_given_up_leaves_nothing(store: EdgeStore, tmp_path: Path) -> None:
    steps = store.optimize()
    assert [next(steps).name, next(steps).name] == ["copy", "build"]
    builder = store._handle.builder
    assert builder
    steps.close()
    assert builder.returncode == -signal.SIGKILL
    assert shards(tmp_path) == ["shard"]
    assert store._handle.journal is None


def test_a_store_that_closes_ends_its_rebuild(stores: EdgeStores, store: EdgeStore, tmp_path: Path) -> None:
    steps = store.optimize()
    next(steps)
    next(steps)
    store.close()
    assert shards(tmp_path) == ["shard"]
    stores.open("a").close()
    with pytest.raises(Unavailable):
        list(steps)


def test_one_rebuild_at_a_time(store: EdgeStore) -> None:
    steps = store.optimize()
    next(steps)
    with pytest.raises(Conflict, match="being optimised already"):
        next(store.optimize())
    steps.close()
    list(store.optimize())


def test_a_full_disk_is_told_beforehand(store: EdgeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(Exhausted, match=r"takes 0\.1 GB meanwhile, and the disk has 0\.0 GB left") as refused:
        list(store.optimize())
    assert "\n" not in str(refused.value)
    assert shards(tmp_path) == ["shard"]


def test_a_fork_during_a_build_is_refused(store: EdgeStore) -> None:
    steps = store.optimize()
    next(steps)
    next(steps)
    child = os.fork()
    if child == 0:
        try:
            store.count()
        except Unavailable:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [step.name for step in steps][-1] == "clean up"
