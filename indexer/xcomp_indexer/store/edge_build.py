"""The process that rebuilds a copy of a shard: `python -m xcomp_indexer.store.edge_build SHARD SPACES GRAPH THREADS`.

The engine's `optimize` lets no other Python thread run for as long as it takes, so it has a process of its own: one
that gives way to all others, and that ends with the one that started it.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

import qdrant_edge as qe

from xcomp_indexer.store import edge_config, sparse

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(shard: str, spaces: str, graph: str, threads: str) -> None:
    """Rebuilds; everything is on disk when it returns."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(19)
    config = edge_config.rebuilt(json.loads(spaces), graph=graph == "graph", threads=int(threads))
    engine = qe.EdgeShard.load(shard, config)
    engine.flush()  # before and after, or the files of what was replaced stay
    engine.optimize()
    engine.flush()
    engine.close()
    sparse.sync(Path(shard))


def die_with(parent: int) -> None:
    """Asks the kernel to end this process with the thread that started it; only Linux can, elsewhere it runs out."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    die_with(int(sys.argv.pop(1)))
    main(*sys.argv[1:])
