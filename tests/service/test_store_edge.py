"""What only the embedded store has to bear: locks, crashes, forks and files of other versions."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.service.test_store_contract import an_id, point, toward
from xcomp_indexer.store import Filter, Match, Missing, Range, Stores, VectorQuery
from xcomp_indexer.store.edge.store import EdgeStore
from xcomp_indexer.store.edge.stores import EdgeStores
from xcomp_indexer.store.factory import open_stores
from xcomp_protos.errors import Conflict, Exhausted, InvalidRequest, NotFound, Unavailable
from xcomp_protos.machine import core_count

HOLDER = """
import sys, time
from xcomp_indexer.store.factory import open_stores
held = open_stores(sys.argv[1], indexes={}).open("a")
print("open", flush=True)
time.sleep(60)
"""

WRITER = """
import sys, uuid
import numpy as np
from xcomp_indexer.store import Point
from xcomp_indexer.store.factory import open_stores
store = open_stores(sys.argv[1], indexes={}).open("a")
random = np.random.default_rng(int(sys.argv[2]))
for batch in range(int(sys.argv[3]), 10**6):
    matrix = random.normal(size=(50, 4)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    ids = [str(uuid.UUID(int=batch * 50 + row)) for row in range(50)]
    store.upsert([Point(each, {"en": row}, {"batch": batch}) for each, row in zip(ids, matrix)])
    store.delete(ids[:1])
    store.set_payload(ids[1:2], {"changed": 1})
    print(batch, flush=True)
"""


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return open_stores(f"edge:{tmp_path}", indexes={})


def run(script: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline()


def kill(process: "subprocess.Popen[str]") -> str:
    process.send_signal(signal.SIGKILL)
    assert process.stdout
    with process.stdout:
        rest = process.stdout.read()
    process.wait()
    return rest


def test_a_held_repository_names_its_holder_and_is_free_when_that_dies(stores: Stores, tmp_path: Path) -> None:
    stores.create("a", {"en": 4}).close()
    holder = run(HOLDER, f"edge:{tmp_path}")
    try:
        assert read_line(holder) == "open\n"
        with pytest.raises(Conflict, match=f"'a' is held by process {holder.pid} on ") as caught:
            stores.open("a")
        assert "print(" not in str(caught.value)  # the arguments of its command stay secret
        with pytest.raises(Conflict, match="is held by process"):
            stores.drop("a")
        assert stores.names() == ["a"]
    finally:
        kill(holder)
    stores.open("a").close()


def test_a_repository_opens_once_in_a_process_too(stores: Stores) -> None:
    store = stores.create("a", {"en": 4})
    with pytest.raises(Conflict, match=f"process {os.getpid()}"):
        stores.open("a")
    store.upsert([point(1)])
    store.close()
    stores.open("a").close()


def test_a_closed_store_says_so_and_closes_again(stores: Stores) -> None:
    store = stores.create("a", {"en": 4})
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="is closed"):
        store.count()
    with pytest.raises(Unavailable, match="is closed"):
        store.set_meta({"a": 1})


def test_a_forked_child_is_refused_and_the_parent_goes_on(stores: Stores) -> None:
    store = stores.create("a", {"en": 4})
    child = os.fork()
    if child == 0:
        try:
            store.count()
        except Unavailable as error:
            os._exit(0 if "before a fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.upsert([point(1)])
    assert store.count() == 1
    store.close()


@pytest.mark.parametrize("seed", range(2))
def test_killed_writers_lose_nothing_that_they_acknowledged(stores: Stores, tmp_path: Path, seed: int) -> None:
    stores.create("a", {"en": 4}).close()
    acknowledged, chance = -1, random.Random(seed)
    for _ in range(2):
        writer = run(WRITER, f"edge:{tmp_path}", seed, acknowledged + 1)
        acknowledged = int(read_line(writer))
        time.sleep(chance.uniform(0, 0.3))
        acknowledged = int([str(acknowledged), *kill(writer).split("\n")[:-1]][-1])
        store = stores.open("a")
        for batch in range(acknowledged + 1):
            assert store.count(Match("batch", (batch,))) == 49
        assert store.count(Match("changed", (1,))) >= acknowledged + 1
        last = store.count(Match("batch", (acknowledged + 1,)))
        assert last in (0, 49, 50)  # the batch under way is there as a whole or not at all
        norms = [np.linalg.norm(found.vectors["en"]) for found in store.scan(vectors=True)]
        np.testing.assert_allclose(norms, 1, atol=1e-4)
        store.close()


def test_a_crash_while_creating_leaves_no_repository(stores: Stores, tmp_path: Path) -> None:
    stores.create("a", {"en": 4}).close()
    (tmp_path / "a" / "manifest.json").unlink()
    assert stores.names() == []
    with pytest.raises(NotFound):
        stores.open("a")
    store = stores.create("a", {"en": 3})
    assert (store.spaces(), store.count()) == ({"en": 3}, 0)
    store.close()


def test_a_crash_while_adding_a_space_is_made_good(stores: Stores, tmp_path: Path) -> None:
    stores.create("a", {"en": 4}).close()
    change_manifest(tmp_path, spaces={"en": 4, "zh": 3})
    store = stores.open("a")
    store.upsert([point(1)])
    store.set_vectors("zh", {an_id(1): toward(1, 0, 0)})
    assert len(store.near([VectorQuery("zh", toward(1, 0, 0), 5)])[0]) == 1
    store.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 4}, "has format 4, this version reads 3: upgrade"),
        ({"engine": "0.10.0"}, "by qdrant-edge-py 0.10.0"),
    ],
)
def test_what_a_newer_version_wrote_is_refused(
    stores: Stores, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    stores.create("a", {"en": 4}).close()
    change_manifest(tmp_path, **change)
    with pytest.raises(Conflict, match=message) as refused:
        stores.open("a")
    assert "\n" not in str(refused.value)
    change_manifest(tmp_path, format=1, engine="0.9.0")
    stores.open("a").close()  # the refusal let go of the lock


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "x"}', '{"format": 1, "spaces": 3}'])
def test_a_damaged_manifest_ends_in_one_line(stores: Stores, tmp_path: Path, content: str) -> None:
    stores.create("a", {"en": 4}).close()
    (tmp_path / "a" / "manifest.json").write_text(content)
    with pytest.raises(Unavailable, match="cannot be read") as refused:
        stores.open("a")
    assert "\n" not in str(refused.value)


def test_lost_or_damaged_engine_files_end_in_one_line(stores: Stores, tmp_path: Path) -> None:
    stores.create("a", {"en": 4}).close()
    (tmp_path / "a" / "shard" / "edge_config.json").write_text("{")
    with pytest.raises(Unavailable, match=r"embedded store in .* failed") as refused:
        stores.open("a")
    assert "\n" not in str(refused.value)


def test_the_engine_searches_in_no_more_threads_than_there_are_cores(stores: Stores, tmp_path: Path) -> None:
    stores.create("a", {"en": 4}).close()
    kept = json.loads((tmp_path / "a" / "shard" / "edge_config.json").read_text())
    assert kept["max_search_threads"] == core_count() >= 1


def test_a_panic_of_the_engine_ends_in_one_line(tmp_path: Path) -> None:
    stores = EdgeStores(tmp_path, indexes={"tags": "keyword"}, index_from=0)
    store = stores.create("a", {"en": 4})
    store.upsert([point(1)])
    store.close()
    for status in (tmp_path / "a" / "shard" / "segments").glob("*/payload_index/*/has_values/status.dat"):
        status.write_bytes(b"")
    with pytest.raises(Unavailable, match=r"embedded store in .* failed") as refused:
        stores.open("a")
    assert "\n" not in str(refused.value)


def test_filters_are_indexed_once_a_repository_is_large(tmp_path: Path) -> None:
    def found(store: EdgeStore) -> tuple[set[str], list[int]]:
        where: list[Filter] = [
            Match("kind", (3,)),
            Range("date", gte="2024-01-03T00:00:00Z"),
            Missing("date"),
            Match("tags", ("t1",)),
        ]
        return indexed_keys(store), [store.count(each) for each in where]

    stores = EdgeStores(tmp_path, indexes={"kind": "integer", "date": "datetime", "tags": "keyword"}, index_from=100)
    store = stores.create("a", {"en": 4})
    images = [
        point(
            each,
            kind=each % 5,
            tags=[f"t{each % 3}"],
            date=f"2024-01-{1 + each % 9:02}T00:00:00Z" if each % 2 else None,
        )
        for each in range(99)
    ]
    store.upsert(images)
    schema, before = found(store)
    assert schema == set()
    store.upsert([point(1000)])
    schema, after = found(store)
    assert schema == {"kind", "date", "tags"}
    assert after == [before[0], before[1], before[2] + 1, before[3]]
    store.close()


def test_a_root_that_cannot_be_written_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written"):
        open_stores(f"edge:{tmp_path}/file/below").create("a", {"en": 4})


def test_size_counts_what_lies_on_disk(stores: Stores, tmp_path: Path) -> None:
    store = stores.create("a", {"en": 4})
    store.upsert([point(1)])
    store.flush()
    apparent = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert 0 < store.size_bytes() < apparent
    store.close()


@pytest.mark.parametrize("address", ["", "edge:", "nothing", "ftp://host", "memory", "memory:x", "http:/x", "grpc://"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match="store address"):
        open_stores(address)


def test_a_full_disk_is_searched_without_the_indexes_that_it_has_no_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = EdgeStores(tmp_path, indexes={"kind": "integer"}, index_from=2)
    store = stores.create("a", {"en": 4})
    store.upsert([point(1, kind=1)])
    store.close()
    stores = EdgeStores(tmp_path, indexes={"kind": "integer"}, index_from=1)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
        store = stores.open("a")
        assert indexed_keys(store) == set()
        assert store.count(Match("kind", (1,))) == 1
    store.upsert([point(2, kind=1)])
    assert indexed_keys(store) == {"kind"}
    store.close()


def indexed_keys(store: EdgeStore) -> set[str]:
    with store._handle.use_engine() as engine:
        return set(engine.info().payload_schema)


def change_manifest(root: Path, **change: object) -> None:
    file = root / "a" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


def test_a_full_disk_is_refused_before_it_costs_the_process(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores.create("a", {"en": 4})
    store.upsert([point(1)])
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
        with pytest.raises(Exhausted, match="has 1 MB left: make room"):
            store.upsert([point(2)])
        with pytest.raises(Exhausted, match="make room"):
            stores.create("b", {"en": 4})
        with pytest.raises(Exhausted, match="make room"):
            store.add_space("zh", 4)
        assert store.spaces() == {"en": 4}
        store.close()
        store = stores.open("a")
        assert store.near([VectorQuery("en", toward(1, 0, 0, 0), 5)])[0][0].id == an_id(1)
    store.upsert([point(2)])
    assert store.count() == 2
    assert stores.names() == ["a"]
    store.close()
