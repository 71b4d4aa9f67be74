"""What many files cost: `python -m tests.bench.rescan [--files 50000] [--entries 1000000]`.

A first run over tiny images with the embedder `color`, as a server does it, and its peaks of memory at a few and at
many files; a second run that finds nothing changed, with a warm cache; a scan of a million names, all of them new. Each
runs in a process of its own, so that a peak belongs to it alone. Resident memory has pages of mapped files in it, which
the system takes back when it needs them; the process's own, without them, is looked at ten times a second.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from tests import images
from tests.bench import machine
from xcomp_indexer.ingest.compaction import with_compaction
from xcomp_indexer.ingest.discover import discover
from xcomp_indexer.ingest.events import IngestRequest, Summary
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.ingest.prune import Roots
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.store.factory import open_stores

FEW = 1_000
_PER_FOLDER = 500
_LOOK_S = 0.1
_LINKS = 50_000  # of one file; file systems stop at 65,000

Row = dict[str, float]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, folder = options.child
        own = _Own()
        row = _scan(Path(folder)) if what == "scan" else _ingest(Path(folder))
        print(json.dumps(row | {"peak": machine.memory("VmHWM"), "own": own.peak()}))
        return
    print(machine.line(f"python -m tests.bench.rescan --files {options.files} --entries {options.entries}"))
    print("\n| run | files | seconds | files/s | models loaded | peak RSS, MB | of its own, MB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="xcomp-bench-") as home:
        for count in (FEW, options.files):
            place = Path(home, str(count))
            _pictures(place / "photos", count)
            for run in ("first", "unchanged", "unchanged"):
                _show(run, _child("ingest", place))
        names = Path(home, "names")
        _names(names, options.entries)
        _show("scan alone, all new", _child("scan", names))


def _pictures(folder: Path, count: int) -> None:
    """Tiny images, each with its own bytes."""
    picture = images.jpeg(images.RED, (16, 16))
    for number in range(count):
        path = folder / f"{number // _PER_FOLDER:04}" / f"image-{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture + number.to_bytes(4, "big"))


def _names(folder: Path, count: int) -> None:
    """Many names of few files."""
    for number in range(count):
        path = folder / f"{number // _PER_FOLDER:04}" / f"image-{number:07}.jpg"
        if not number % _PER_FOLDER:
            path.parent.mkdir(parents=True)
        source = folder / f"{number // _LINKS}.txt"
        source.touch()
        os.link(source, path)


def _child(what: str, folder: Path) -> Row:
    command = [sys.executable, "-m", "tests.bench.rescan", "--child", what, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row: Row = json.loads(done.stdout)
    return row


def _show(run: str, row: Row) -> None:
    rate = row["files"] / row["seconds"]
    cells = (run, f"{row['files']:,.0f}", f"{row['seconds']:.2f}", f"{rate:,.0f}", f"{row['loads']:.0f}")
    print(f"| {' | '.join(cells)} | {row['peak'] / 2**20:.0f} | {row['own'] / 2**20:.0f} |", flush=True)


def _ingest(place: Path) -> Row:
    from xcomp_indexer.embed.color import ColorEmbedder

    loads: list[str] = []

    def load(model: str) -> ColorEmbedder:
        loads.append(model)
        return ColorEmbedder()

    library = RepositoryCatalog(open_stores(f"edge:{place / 'store'}"), EmbedderCache(load), default_profile="color")
    repository = library.get_or_create("default")
    ingest = Ingest(repository, partial(library.embedder, repository), IngestRequest([str(place / "photos")]))
    *_, summary = with_compaction(repository, ingest.run())
    assert isinstance(summary, Summary)
    assert summary.added + summary.unchanged == summary.scanned
    library.close()
    return {"files": summary.scanned, "seconds": summary.seconds, "loads": len(loads)}


def _scan(folder: Path) -> Row:
    begun = time.monotonic()
    looking = discover(IngestRequest([str(folder)]), Roots([str(folder)]), lambda entries: entries)
    try:
        while True:
            next(looking)
    except StopIteration as end:
        found = end.value
    seconds = time.monotonic() - begun
    return {"files": len(found.todo), "seconds": seconds, "loads": 0}


class _Own:
    """Watches the memory of this process that belongs to no file."""

    def __init__(self) -> None:
        self._peak, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._peak = max(self._peak, machine.memory("RssAnon"))

    def peak(self) -> int:
        """Returns the most bytes so far, and looks no longer."""
        self._ended.set()
        self._thread.join()
        return max(self._peak, machine.memory("RssAnon"))


if __name__ == "__main__":
    main()
