"""Where the embedded engine is known to differ from the client's memory mode, and what our adapter does about each.

Each test holds for the engine of today. One that fails after an upgrade says that a workaround may go.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as qe
from qdrant_client import QdrantClient, models

WIDTH = 8
FIRST = str(uuid.UUID(int=1))


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[qe.EdgeShard]:
    vectors = {"en": qe.EdgeVectorParams(size=WIDTH, distance=qe.Distance.Cosine)}
    shard = qe.EdgeShard.create(str(tmp_path / "shard"), qe.EdgeConfig(vectors=vectors))
    yield shard
    shard.close()


@pytest.fixture
def memory() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    client.create_collection("a", {"en": models.VectorParams(size=WIDTH, distance=models.Distance.COSINE)})
    yield client
    client.close()


def upsert(edge: qe.EdgeShard, *points: qe.Point) -> None:
    edge.update(qe.UpdateOperation.upsert_points(list(points)))


def count(edge: qe.EdgeShard, where: qe.Filter | None = None) -> int:
    return edge.count(qe.CountRequest(exact=True, filter=where))


def test_booleans_match_nothing_so_payloads_hold_0_and_1(edge: qe.EdgeShard, memory: QdrantClient) -> None:
    upsert(edge, qe.Point(FIRST, {"en": [1.0] * WIDTH}, {"flag": True}))
    memory.upsert("a", [models.PointStruct(id=FIRST, vector={"en": [1.0] * WIDTH}, payload={"flag": True})])
    theirs = models.Filter(must=[models.FieldCondition(key="flag", match=models.MatchValue(value=True))])
    assert memory.count("a", theirs).count == 1
    assert count(edge, qe.Filter(must=[qe.FieldCondition("flag", match=qe.MatchValue(True))])) == 0


def test_what_is_no_number_is_stored_so_we_check_before(edge: qe.EdgeShard, memory: QdrantClient) -> None:
    broken = [float("nan")] * WIDTH
    with pytest.raises(ValueError, match="NaN"):
        memory.upsert("a", [models.PointStruct(id=FIRST, vector={"en": broken})])
    upsert(edge, qe.Point(FIRST, {"en": broken}, {}))
    assert count(edge) == 1


def test_half_of_a_bad_batch_is_applied_so_we_check_it_whole(edge: qe.EdgeShard) -> None:
    batch = [qe.Point(str(uuid.UUID(int=each)), {"en": [1.0] * (WIDTH if each else 1)}, {}) for each in range(500)]
    for _ in range(3):  # the engine goes through a batch in an order of its own
        with pytest.raises(Exception, match="dimension"):  # it has no exception types
            upsert(edge, *batch)
    assert count(edge) > 0


def test_ids_are_no_texts_so_we_make_them_texts(edge: qe.EdgeShard, memory: QdrantClient) -> None:
    upsert(edge, qe.Point(FIRST, {"en": [1.0] * WIDTH}, {}))
    memory.upsert("a", [models.PointStruct(id=FIRST, vector={"en": [1.0] * WIDTH})])
    assert edge.retrieve([FIRST], False, False)[0].id == uuid.UUID(FIRST)
    assert memory.retrieve("a", [FIRST])[0].id == FIRST


def test_optimizing_stops_every_thread_so_it_has_a_process(edge: qe.EdgeShard, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3000, WIDTH)).tolist()
    upsert(edge, *(qe.Point(str(uuid.UUID(int=at)), {"en": row}, {}) for at, row in enumerate(rows)))
    edge.close()
    config = qe.EdgeConfig(
        vectors={"en": qe.EdgeVectorParams(size=WIDTH, distance=qe.Distance.Cosine)},
        hnsw_config=qe.HnswIndexConfig(16, 100, 1, max_indexing_threads=1),
        optimizers=qe.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1),
    )
    shard = qe.EdgeShard.load(str(tmp_path / "shard"), config)
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.monotonic()
    shard.optimize()
    ended = time.monotonic()
    stop.set()
    thread.join()
    shard.close()
    during = [at for at in ticks if began < at < ended]
    assert len(during) < 10  # of hundreds, were it not so
    assert ended - began > 0.02  # it did build something
