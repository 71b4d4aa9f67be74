"""Rebuilds a copy of a shard: `python -m xcomp_indexer.store.edge.rebuild_worker PARENT SHARD SPACES THREADS LAYOUT…`.

The engine's `optimize` stops all other Python threads while it runs, so it has a process of its own, which has the
lowest priority and ends with the process that started it.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import cast

import qdrant_edge as qe

from xcomp_indexer.store.edge import config, files
from xcomp_indexer.store.edge.config import Layout

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(shard: str, spaces: str, threads: str, *layouts: Layout) -> None:
    """Rebuild the shard in one layout after the other; everything is on disk when it returns."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(19)
    for layout in layouts:
        engine = qe.EdgeShard.load(
            shard, config.config_for_rebuild(json.loads(spaces), layout=layout, threads=int(threads))
        )
        engine.flush()  # before and after, otherwise the replaced files stay
        engine.optimize()
        engine.flush()
        engine.close()
    files.sync(Path(shard))


def die_with(parent: int) -> None:
    """Ask the kernel to end this process with the thread that started it; elsewhere than on Linux it runs on."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    die_with(int(sys.argv.pop(1)))
    shard, spaces, threads, *layouts = sys.argv[1:]
    main(shard, spaces, threads, *cast("list[Layout]", layouts))
