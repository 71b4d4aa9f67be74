"""The embedded store at size: `python -m tests.bench.store_scale --points 100000 [--seed 0] [--until STAGE]`.

Vectors of 512 dimensions with a structure of 32 and noise over all of it, and payloads with all their indexes. It fills
a store, seals it on the way, builds its index while threads go on searching and writing, and compares with exact
search. Every stage is kept in a folder, and a run goes on where the one before was cut short; only a build that was cut
short begins again.
"""

import argparse
import hashlib
import json
import resource
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.bench import machine
from xcomp_indexer.embed.base import ClassLabel
from xcomp_indexer.repository.image_record import ImagePayload
from xcomp_indexer.store import INDEXES, Match, Point, Step, VectorQuery, search_params
from xcomp_indexer.store.edge.store import EdgeStore
from xcomp_indexer.store.edge.stores import EdgeStores

WIDTH, LATENT, NOISE = 512, 32, 0.5
CHUNK, QUERIES, TOP = 1000, 200, 10
STAGES = ("fill", "build", "search")
ROOT = Path("/photos")

Figures = dict[str, float]


def vectors(seed: int, chunk: int, count: int = CHUNK) -> NDArray[np.float32]:
    """Returns unit vectors [count, WIDTH], the same for the same seed and chunk."""
    basis = np.random.default_rng(seed).normal(size=(LATENT, WIDTH)).astype(np.float32)
    chance = np.random.default_rng([seed, chunk + 1])
    latent = chance.standard_normal((count, LATENT), np.float32)
    rows = latent @ basis / LATENT**0.5 + NOISE * chance.standard_normal((count, WIDTH), np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def fill(store: EdgeStore, *, seed: int, points: int) -> Figures:
    """Writes what is missing, and seals it now and then, as an ingest does that finds the time."""
    began, start = time.monotonic(), store.count()
    seals, own = list[float](), 0
    for chunk in range(start // CHUNK, points // CHUNK):
        rows = vectors(seed, chunk)
        store.upsert([_point(chunk * CHUNK + at, row) for at, row in enumerate(rows)])
        own = max(own, machine.memory("RssAnon"))
        if store.backlog() >= 1:
            at = time.monotonic()
            for _ in store.seal():
                own = max(own, machine.memory("RssAnon"))
            seals.append(time.monotonic() - at)
    store.flush()
    return {
        "points per second, sealing left out": (points - start) / (time.monotonic() - began - sum(seals)),
        "seals": len(seals),
        "of them the longest s": max(seals, default=0.0),
        "peak of memory without files GB": own / 1e9,
    }


def _point(number: int, vector: NDArray[np.float32]) -> Point:
    """An image as an ingest writes it: five hundred in a folder, names and contents of their own."""
    payload = ImagePayload(
        path=ROOT / f"{number // 500:05}" / f"{number:07}.jpg",
        root=ROOT,
        size=1_000_000 + number,
        mtime_ns=1_700_000_000_000_000_000 + number,
        content_hash=hashlib.sha256(number.to_bytes(8)).hexdigest(),
        width=4000,
        height=3000,
        date=datetime.fromtimestamp(1_700_000_000 + 60 * number, UTC),
        tags=[f"t{number % 50}"],
        labels=[ClassLabel("church", "教堂", 0.5)] * 5,
    )
    return Point(str(uuid.UUID(int=number)), {"en": vector}, payload.write())


def build(store: EdgeStore, *, seed: int) -> Figures:
    """Builds the index, while another thread searches and another one writes."""
    queries, stop = vectors(seed, -1, QUERIES), threading.Event()
    searches: list[float] = []
    writes: list[float] = []
    probe = str(uuid.UUID(int=0))

    def search() -> None:
        while not stop.is_set():
            searches.append(timed(store, [query_of(queries[len(searches) % QUERIES])]))
            time.sleep(0.02)

    def write() -> None:
        while not stop.is_set():
            began = time.monotonic()
            store.set_payload([probe], {"restricted": 0})
            writes.append(time.monotonic() - began)
            time.sleep(0.02)

    threads = [threading.Thread(target=search), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    try:
        spent = _optimize(store)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return {
        **spent,
        "search p50 ms": 1e3 * float(np.quantile(searches, 0.5)),
        "search p95 ms": 1e3 * float(np.quantile(searches, 0.95)),
        "search worst ms": 1e3 * max(searches),
        "write worst ms": 1e3 * max(writes),
    }


def _optimize(store: EdgeStore) -> Figures:
    steps: list[Step] = []
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for step in store.optimize():
        if not steps or steps[-1].name != step.name:
            steps.append(step)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    ends = [*(step.seconds for step in steps[1:]), time.monotonic() - began]
    return {
        **{f"{step.name} s": end - step.seconds for step, end in zip(steps, ends, strict=True)},
        "builder CPU s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "builder peak GB": after.ru_maxrss / 1e6,
    }


def search(store: EdgeStore, *, seed: int) -> Figures:
    """Compares with exact search over the same store."""
    queries = vectors(seed, -1, QUERIES)
    found, exact, seconds, exactly, filtered = 0, 0, [], [], []
    for query in queries:
        seconds.append(timed(store, [query_of(query)]))
        exactly.append(timed(store, [query_of(query, exact=True)]))
        near = VectorQuery("en", query, TOP, where=Match("tags", ("t7",)))
        filtered.append(timed(store, [near]))
        mine, true = store.near([query_of(query), query_of(query, exact=True)])
        found += len({hit.id for hit in mine} & {hit.id for hit in true})
        exact += len(true)
    return {
        f"recall@{TOP}": found / exact,
        "p50 ms": 1e3 * float(np.quantile(seconds, 0.5)),
        "p95 ms": 1e3 * float(np.quantile(seconds, 0.95)),
        "exact p50 ms": 1e3 * float(np.quantile(exactly, 0.5)),
        "exact p95 ms": 1e3 * float(np.quantile(exactly, 0.95)),
        "2 % filter p95 ms": 1e3 * float(np.quantile(filtered, 0.95)),
        "PSS GB": pss_gb(),
        "memory without files GB": machine.memory("RssAnon") / 1e9,
        "disk GB": store.size_bytes() / 1e9,
    }


def query_of(vector: NDArray[np.float32], *, exact: bool = False) -> VectorQuery:
    """Returns the search that is measured."""
    return VectorQuery("en", vector, TOP, exact=exact)


def timed(store: EdgeStore, queries: Sequence[VectorQuery]) -> float:
    """Returns the seconds that a call takes."""
    began = time.monotonic()
    store.near(queries)
    return time.monotonic() - began


def pss_gb() -> float:
    """Returns this process's share of memory, mapped files included."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1e6


def main() -> None:
    """Goes through the stages that are not done yet, and prints them all."""
    options = _parser().parse_args()
    home: Path = options.at / f"{options.points}-{options.seed}"
    kept = home / "figures.json"
    figures: dict[str, Figures] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for stage in STAGES[: STAGES.index(options.until) + 1]:
        if stage not in figures:
            figures[stage] = _run(
                stage, home, options
            )  # opened again for each, so that memory is that of a fresh start
            kept.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    _print(figures, options)
    if options.until == STAGES[-1] and not options.keep:
        shutil.rmtree(home)


def _run(stage: str, home: Path, options: argparse.Namespace) -> Figures:
    stores = EdgeStores(home, indexes=INDEXES, graph_from=1)
    opened = stores.open("a") if stores.exists("a") else stores.create("a", {"en": WIDTH})
    with closing(opened) as store:
        if stage == "fill":
            return fill(store, seed=options.seed, points=options.points)
        return build(store, seed=options.seed) if stage == "build" else search(store, seed=options.seed)


def _print(figures: dict[str, Figures], options: argparse.Namespace) -> None:
    print(f"{machine.name()}; {options.points:,} points of {WIDTH} dimensions, seed {options.seed}")
    print(
        f"HNSW m 16, ef_construct 100; int8, quantile {search_params.QUANTILE}; "
        f"ef {search_params.hnsw_ef(options.points)}, ",
        end="",
    )
    print(f"rescored, oversampling {search_params.OVERSAMPLING}; {QUERIES} queries, top {TOP}\n")
    print("| stage | figure | |\n|---|---|---|")
    for stage, values in figures.items():
        for name, value in values.items():
            print(f"| {stage} | {name} | {value:,.3f} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000, help="thousands are best")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", type=Path, default=Path(".bench/store"), help="where the store lies meanwhile")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage to go through now")
    parser.add_argument("--keep", action="store_true", help="leave the store there")
    return parser


if __name__ == "__main__":
    main()
