"""What a text query costs beside its text tower and the engine: `python -m tests.bench.query_latency`.

    --towers color lite clip   whose text tower; clip is a ViT-B-32 of true shape with random weights
    --images 10000 100000      sizes of the repository, vectors generated
    --queries 200              each text is new, so that none is remembered
    --home FOLDER              keeps the repositories for the next run; a temporary folder without it

Tower and engine are timed in this process, the engine by its own interface, and in turn, as a query needs them: each
finds the processor's caches as the other left them. The tower is timed by itself as well, text after text, where it
finds its weights in the caches. Then the query in a server process: as the server tells it, and as a client on the same
machine sees it. One after the other, on one thread each.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import qdrant_edge as qe

from tests.bench import filled, machine
from xcomp_indexer import embed
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.repository.profiles import spaces_of
from xcomp_indexer.store.edge import config, manifest
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
    print(
        "| tower | images | by itself p50 | tower p50 | engine p50 | server p50/p95 | call p50/p95 | - tower | - both |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
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
    _timed(lambda at: model.encode_texts([texts[at]]), queries)  # warm
    alone, _, _ = filled.quantiles(_timed(lambda at: model.encode_texts([texts[at]]), queries))
    encoding, engine = (filled.quantiles(each)[0] for each in _in_turn(home, spaces_of(profile)[0].name, model, texts))
    with filled.server(home, profile) as (address, _), IndexerClient(address) as client:
        inside: list[float] = []

        def search(at: int) -> None:
            inside.append(client.search(_request(texts[at])).seconds)

        client.search(_request("the first query takes the scale"))
        p50, p95, _ = filled.quantiles(_timed(search, queries))
    mid, late, _ = filled.quantiles(inside)
    over = f"{mid - encoding:.1f} | {mid - encoding - engine:.1f}"
    parts = f"{alone:.1f} | {encoding:.1f} | {engine:.1f}"
    print(f"| {tower} | {images} | {parts} | {mid:.1f}/{late:.1f} | {p50:.1f}/{p95:.1f} | {over} |", flush=True)


def _request(text: str) -> pb.SearchRequest:
    query = pb.Query(parts=[pb.QueryPart(text=text)])
    return pb.SearchRequest(repository=filled.REPOSITORY, queries=[query], k=K)


def _in_turn(home: Path, space: str, model: Embedder, texts: Sequence[str]) -> tuple[list[float], list[float]]:
    """Times the tower and the engine alone: the nearest points with their payloads, nothing else asked."""
    repository = home / "repositories" / filled.REPOSITORY
    shard = qe.EdgeShard.load(str(repository / manifest.read(repository).shard))
    params = config.search_params_for(shard.info().points_count)
    encoding: list[float] = []
    engine: list[float] = []
    try:
        for text in (texts[0], *texts):
            begun = time.perf_counter()
            (row,) = model.encode_texts([text])
            encoding.append(time.perf_counter() - begun)
            query = qe.Query.Nearest(row.tolist(), using=space)
            begun = time.perf_counter()
            shard.query(qe.QueryRequest(limit=K, query=query, params=params, with_payload=True))
            engine.append(time.perf_counter() - begun)
    finally:
        shard.close()
    return encoding[1:], engine[1:]  # the first takes the shard in


def _timed(run: Callable[[int], object], times: int) -> list[float]:
    seconds = []
    for at in range(times):
        begun = time.perf_counter()
        run(at)
        seconds.append(time.perf_counter() - begun)
    return seconds


if __name__ == "__main__":
    main()
