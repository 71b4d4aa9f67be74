"""Sixty-four searchers at once against what the encoder alone can do: `python -m tests.bench.search_load`.

    --towers lite clip     whose text tower; clip is a ViT-B-32 of true shape with random weights
    --images 1000          size of the repository, vectors generated
    --searchers 64         each asks again as soon as it is answered, every text new
    --seconds 20           of load, after a warm-up

The limit is the encoder in batches of 32 on the first core, measured before and after the load. Then the server runs on
the first core and the searchers on the second. Rates are per second of processor time of the encoder and of the server,
so that others on the machine do not bend them; on an idle core that is per second. Latencies are as they were.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench import filled, machine
from xcomp_indexer import embed
from xcomp_indexer.repository.profiles import spaces_of
from xcomp_indexer.search.text_encoder import MAX_BATCH
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import XcompError

WARM_S, LIMIT_S = 3.0, 4.0


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--towers", nargs="+", default=["lite", "clip"], choices=["color", "lite", "clip"])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--searchers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--limit", metavar="PROFILE", help="print the texts per second of its encoder, and leave")
    options = parser.parse_args()
    if options.limit:
        print(_limit(options.limit))
        return
    first, second, *_ = sorted(os.sched_getaffinity(0))
    print(machine.line("python -m tests.bench.search_load"))
    print(f"{options.searchers} searchers, {options.images} images, {options.seconds:.0f} s\n")
    print("| tower | encoder alone, texts/s | searches/s | ratio | core used | p50 ms | p99 ms | p99/p50 | errors |")
    print("|---|---|---|---|---|---|---|---|---|")
    os.sched_setaffinity(0, {second})
    with tempfile.TemporaryDirectory(prefix="xcomp-bench-") as temporary:
        for tower in options.towers:
            profile = filled.clip(Path(temporary) / "model") if tower == "clip" else tower
            home = Path(temporary) / tower
            filled.fill(home, profile, options.images)
            before = _limit_on(first, profile)
            with filled.server(home, profile, cpu=first) as (address, pid):
                load = Load(address, options.searchers)
                load.run(WARM_S)
                load.clear()
                begun = _processor_s(pid)
                load.run(options.seconds)
                used = _processor_s(pid) - begun
            limit = (before + _limit_on(first, profile)) / 2
            p50, _, p99 = filled.quantiles(load.seconds)
            rate = len(load.seconds) / used
            print(
                f"| {tower} | {limit:.0f} | {rate:.0f} | {rate / limit:.2f} | {used / options.seconds:.2f} |"
                f" {p50:.0f} | {p99:.0f} | {p99 / p50:.1f} | {len(load.errors)} |",
                flush=True,
            )
            for error in sorted(set(load.errors)):
                print(f"error: {error}")


class Load:
    """Searchers on one channel, and what they saw."""

    def __init__(self, address: str, searchers: int) -> None:
        self._address, self._searchers = address, searchers
        self._numbers = itertools.count()
        self._words = filled.texts(997)
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forgets what was seen."""
        self.seconds: list[float] = []
        self.errors: list[str] = []

    def run(self, seconds: float) -> None:
        """Searches for so long; what is under way then is counted if it ends within a second."""
        until = time.monotonic() + seconds
        with IndexerClient(self._address) as client, ThreadPoolExecutor(self._searchers) as pool:
            for each in [pool.submit(self._search, client, until) for _ in range(self._searchers)]:
                each.result()

    def _search(self, client: IndexerClient, until: float) -> None:
        while (begun := time.monotonic()) < until:
            number = next(self._numbers)
            text = f"{self._words[number % len(self._words)]} {number}"
            query = pb.Query(parts=[pb.QueryPart(text=text)])
            try:
                client.search(pb.SearchRequest(repository=filled.REPOSITORY, queries=[query], k=10))
            except XcompError as error:
                with self._lock:
                    self.errors.append(str(error))
                continue
            with self._lock:
                self.seconds.append(time.monotonic() - begun)


def _limit_on(cpu: int, profile: str) -> float:
    command = ["taskset", "-c", str(cpu), sys.executable, "-m", "tests.bench.search_load", "--limit", profile]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=filled.ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _limit(profile: str) -> float:
    """Returns texts per second of processor time, in full batches."""
    model = embed.load(spaces_of(profile)[0].model)
    texts = [f"{text} {number}" for number, text in enumerate(filled.texts(50 * MAX_BATCH))]
    model.encode_texts(texts[:MAX_BATCH])
    begun, done = time.process_time(), 0
    while time.process_time() - begun < LIMIT_S:
        at = done % len(texts)
        model.encode_texts(texts[at : at + MAX_BATCH])
        done += MAX_BATCH
    return done / (time.process_time() - begun)


def _processor_s(pid: int) -> float:
    """Returns the processor time that a process has taken so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
