"""Searching while an ingest runs: `python -m tests.bench.findable [--images 400]`.

A real server with ViT-B/32 of random weights takes in photographs of 12 megapixels, and answers a new text query four
times a second. How long until the first image is found, and how long each query takes, model loads included.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.bench import machine, photographs
from tests.bench.clip_speed import open_clip_b32
from tests.processes import process
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import NotFound

_PAUSE_S = 0.25
_ENOUGH = 40  # queries that a 95th percentile takes


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=400)
    options = parser.parse_args()
    print(machine.line(f"python -m tests.bench.findable --images {options.images}"))
    with tempfile.TemporaryDirectory(prefix="xcomp-bench-") as folder:
        home = Path(folder)
        photos = photographs.write(home / "photos", options.images, megapixels=12)
        profile = f"en=open_clip:{open_clip_b32(home / 'weights')}"
        with process(home / "home", "--profile", profile) as (_, address):
            found_s, queries = _watched(address, photos)
    if len(queries) < _ENOUGH:
        sys.exit(f"only {len(queries)} queries fitted in (first image after {found_s:.1f} s): give more --images")
    p95 = statistics.quantiles(queries, n=20)[-1]
    print("\n| first image found after | queries meanwhile | p50 | p95 |\n|---|---|---|---|")
    print(f"| {found_s:.1f} s | {len(queries)} | {statistics.median(queries) * 1000:.0f} ms | {p95 * 1000:.0f} ms |")


def _watched(address: str, photos: Path) -> tuple[float, list[float]]:
    """Ingests in one thread and searches in this one; returns seconds to the first hit and of every query after it."""
    begun = time.monotonic()
    ingest = threading.Thread(target=_ingest, args=(address, photos))
    ingest.start()
    found_s, queries = 0.0, list[float]()
    with IndexerClient(address) as client:
        number = 0
        while ingest.is_alive():
            number += 1
            asked = time.monotonic()
            hits = _hits(client, f"a harbour at night, number {number}")
            if found_s:
                queries.append(time.monotonic() - asked)
            elif hits:
                found_s = time.monotonic() - begun
            time.sleep(_PAUSE_S)
    return found_s, queries


def _ingest(address: str, photos: Path) -> None:
    with IndexerClient(address) as client:
        *_, last = client.ingest(pb.IngestRequest(repository="default", paths=[str(photos)]))
    assert last.summary.added == len([*photos.iterdir()])


def _hits(client: IndexerClient, text: str) -> int:
    query = pb.Query(parts=[pb.QueryPart(text=text)])
    try:
        return len(client.search(pb.SearchRequest(repository="default", queries=[query], k=10)).results[0].hits)
    except NotFound:  # there is no repository yet
        return 0


if __name__ == "__main__":
    main()
