"""The indexer as its own process."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def process(
    home: Path, *arguments: str, module: str = "xcomp_indexer.server.main"
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Starts an indexer; yields it with its address, and kills it afterwards."""
    command = [sys.executable, "-m", module, "--profile", "color", "--home", str(home), *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("XCOMP_")}
    with subprocess.Popen(
        command if "--listen" in arguments else [*command, "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as server:
        try:
            assert server.stderr
            listening = re.search("listening on (.*)", server.stderr.readline())
            yield server, listening[1] if listening else ""
        finally:
            server.kill()
