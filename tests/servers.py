"""Both services as processes on loopback, with logs in files: for load, faults and random messages."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

WAIT_S = 60.0
NONE: Mapping[str, str] = {}


@dataclass
class Process:
    """A server that can be killed and started again at the same address."""

    module: str
    arguments: tuple[str, ...]
    log: Path
    address: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)  # of the environment

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Starts the server, and waits until it says where it listens; a second time at the same address."""
        listen = self.address or "127.0.0.1:0"
        command = [sys.executable, "-m", self.module, "--listen", listen, *self.arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("XCOMP_", "OTEL_"))}
        said = len(self.said())
        with self.log.open("ab") as out:
            self.popen = subprocess.Popen(command, stderr=out, stdout=out, env={**environment, **self.settings})
        deadline = time.monotonic() + WAIT_S
        while "listening on " not in self.said()[said:]:
            assert self.popen.poll() is None, self.said()[-2000:]
            assert time.monotonic() < deadline, self.said()[-2000:]
            time.sleep(0.02)
        self.address = self.said()[said:].partition("listening on ")[2].split()[0]

    def said(self) -> str:
        """Returns the whole log, of all its starts."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """Kills it, like a crash."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> None:
        """Lets it drain, and waits for its end."""
        self.popen.terminate()
        self.popen.wait(WAIT_S)

    def resident_bytes(self) -> int:
        """Returns its memory."""
        pages = int(Path(f"/proc/{self.popen.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Returns the number of its open files and sockets."""
        return len(list(Path(f"/proc/{self.popen.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Returns the number of its threads."""
        return len(list(Path(f"/proc/{self.popen.pid}/task").iterdir()))


@contextmanager
def indexer(
    folder: Path, *arguments: str, profile: str = "color", settings: Mapping[str, str] = NONE
) -> Iterator[Process]:
    """Runs an indexer with its data below `folder`."""
    given = ("--home", str(folder / "home"), "--profile", profile, *arguments)
    with _running("xcomp_indexer.server.main", folder, given, settings) as process:
        yield process


@contextmanager
def composer(
    folder: Path, indexer_address: str, *arguments: str, settings: Mapping[str, str] = NONE
) -> Iterator[Process]:
    """Runs a composer on an indexer."""
    with _running(
        "xcomp_composer.server.main", folder, ("--indexer", indexer_address, *arguments), settings
    ) as process:
        yield process


@contextmanager
def _running(module: str, folder: Path, arguments: tuple[str, ...], settings: Mapping[str, str]) -> Iterator[Process]:
    process = Process(module, arguments, folder / f"{module}.log", settings=settings)
    try:
        yield process
    finally:
        process.kill()
