"""How a server's process asks for memory."""

import platform
import subprocess
import sys

import pytest

from xcomp_protos.machine import core_count

_ARENAS = """
import ctypes, gc, threading
from xcomp_indexer.server import main
main.tune_memory()
assert gc.isenabled() and gc.get_threshold()[0] == main.GC_THRESHOLD
def ask():
    held.append(bytearray(4096 * 2))
    with ready: pass
held, ready = [], threading.Lock()
with ready:
    threads = [threading.Thread(target=ask) for _ in range(64)]
    [each.start() for each in threads]
    ctypes.CDLL(None).malloc_stats()
[each.join() for each in threads]
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library has other pools")
def test_threads_share_as_many_pools_as_cores_and_cycles_are_still_collected() -> None:
    done = subprocess.run([sys.executable, "-c", _ARENAS], capture_output=True, text=True, check=True)
    assert "Arena 0" in done.stderr
    assert f"Arena {core_count()}" not in done.stderr
