"""How a server's process asks for memory: as suits many threads that do the same work in turn.

Each search is led by another thread, and every thread's own pool of the C library would come to hold the activations of
a text tower, given back to the system and asked for anew each time. As many pools as cores are enough for those that
run at once. And a search leaves hundreds of objects that go by themselves: to look for cycles after every 700 of them
takes a twentieth of the time.
"""

import ctypes
import gc
import sys

from xcomp_indexer.load import cores

COLLECT_AFTER = 20_000  # objects made and not gone since the last look
_M_ARENA_MAX = -8  # of malloc.h


def settle() -> None:
    """Sets it for the whole process; to be called before its threads are started."""
    gc.set_threshold(COLLECT_AFTER)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc; another library goes about it in its own way
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, cores())
