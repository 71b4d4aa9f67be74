"""What a text query costs beside its text tower and the engine: `python -m tests.bench.query_latency`.

    --towers color lite clip   whose text tower; clip is a ViT-B-32 of true shape with random weights
    --images 10000 100000      sizes of the repository, vectors generated
    --queries 200              each text is new, so that none is remembered
    --home FOLDER              keeps the repositories for the next run; a temporary folder without it

The tower is timed in this process, the engine by its own interface with the vectors of the same queries, and the
query in a server process: as the server tells it, and as a client on the same machine sees it. One after the other, on
one thread each.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import qdrant_edge as qe

from tests.bench import filled, machine
from xcomp_indexer import embed
from xcomp_indexer.embed import Vectors
from xcomp_indexer.profiles import spaces_of
from xcomp_indexer.store import edge_config, folder
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient

K = 10


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--towers", nargs="+", default=["color", "clip"], choices=["color", "lite", "clip"])
    parser.add_argument("--images", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    print(machine.line("OMP_NUM_THREADS=1 python -m tests.bench.query_latency"))
    print(f"{options.queries} queries, k = {K}, milliseconds\n")
    print("| tower | images | tower p50 | engine p50 | server p50/p95 | call p50/p95 | - tower | - tower - engine |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="xcomp-bench-") as temporary:
        home = options.home or Path(temporary)
        for tower in options.towers:
            profile = filled.clip(home / "clip-model") if tower == "clip" else tower
            for images in options.images:
                _row(home / f"{tower}-{images}", profile, tower=tower, images=images, queries=options.queries)


def _row(home: Path, profile: str, *, tower: str, images: int, queries: int) -> None:
    filled.fill(home, profile, images)
    texts = filled.texts(queries)
    model = embed.load(spaces_of(profile)[0].model)
    vectors = np.concatenate([model.encode_texts([text]) for text in texts])  # warm
    encoding, _, _ = filled.quantiles(_timed(lambda at: model.encode_texts([texts[at]]), queries))
    engine, _, _ = filled.quantiles(_engine(home, spaces_of(profile)[0].name, vectors))
    with filled.server(home, profile) as (address, _), IndexerClient(address) as client:
        inside: list[float] = []

        def search(at: int) -> None:
            inside.append(client.search(_request(texts[at])).seconds)

        client.search(_request("the first query takes the scale"))
        p50, p95, _ = filled.quantiles(_timed(search, queries))
    mid, late, _ = filled.quantiles(inside)
    over = f"{mid - encoding:.1f} | {mid - encoding - engine:.1f}"
    print(
        f"| {tower} | {images} | {encoding:.1f} | {engine:.1f} | {mid:.1f}/{late:.1f} | {p50:.1f}/{p95:.1f} | {over} |",
        flush=True,
    )


def _request(text: str) -> pb.SearchRequest:
    query = pb.Query(parts=[pb.QueryPart(text=text)])
    return pb.SearchRequest(repository=filled.REPOSITORY, queries=[query], k=K)


def _engine(home: Path, space: str, vectors: Vectors) -> Sequence[float]:
    """Times the engine alone: the nearest points with their payloads, nothing else asked."""
    repository = home / "repositories" / filled.REPOSITORY
    shard = qe.EdgeShard.load(str(repository / folder.read(repository).shard))
    params = edge_config.search(shard.info().points_count)
    rows = vectors.tolist()

    def nearest(at: int) -> None:
        query = qe.Query.Nearest(rows[at], using=space)
        shard.query(qe.QueryRequest(limit=K, query=query, params=params, with_payload=True))

    try:
        nearest(0)
        return _timed(nearest, len(rows))
    finally:
        shard.close()


def _timed(run: Callable[[int], object], times: int) -> list[float]:
    seconds = []
    for at in range(times):
        begun = time.perf_counter()
        run(at)
        seconds.append(time.perf_counter() - begun)
    return seconds


if __name__ == "__main__":
    main()
