"""A process ends within its drain, even if a thread hangs."""

import subprocess
import sys
import time

HANGS = """
import threading
from xcomp_protos.server import run
run.end_process_after(0.5)
threading.Thread(target=threading.Event().wait).start()  # the interpreter would wait for it
"""


def test_a_process_with_a_thread_that_hangs_ends_after_the_drain() -> None:
    begun = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert time.monotonic() - begun < 50
    assert "event=hung" in ended.stderr
