"""What a server holds on to: after ingests, as many files and threads as before them."""

import time
from pathlib import Path

from tests import images
from tests.processes import process
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient


def held(pid: int) -> tuple[int, int]:
    """Counts the open files and the threads of a process."""
    home = Path("/proc", str(pid))
    return len([*(home / "fd").iterdir()]), len([*(home / "task").iterdir()])


def ingest(client: IndexerClient, photos: Path, *, until: int = 10**9) -> None:
    stream = client.ingest(pb.IngestRequest(repository="default", paths=[str(photos)]))
    for event in stream:
        if event.progress.done >= until:
            break
    stream.close()  # type: ignore[attr-defined]  # it is a generator


def busy(client: IndexerClient, photos: Path, turns: range) -> None:
    """Ingests new files, broken ones among them; every other ingest is cancelled, and the next waits for it to end."""
    for turn in turns:
        images.library(photos, {f"{turn}/{at:02}.jpg": (turn, 90, at) for at in range(40)})
        (photos / str(turn) / "broken.jpg").write_bytes(images.truncated())
        ingest(client, photos, until=16 if turn % 2 else 10**9)
    ingest(client, photos)


def test_ingests_leave_no_open_files_and_no_threads(home: Path, photos: Path) -> None:
    with process(home) as (server, address), IndexerClient(address) as client:
        busy(client, photos, range(4))  # what is made once and kept, such as the threads that serve calls
        before = held(server.pid)
        busy(client, photos, range(4, 12))
        deadline = time.monotonic() + 30
        while held(server.pid) > before and time.monotonic() < deadline:  # what was cancelled ends a little later
            time.sleep(0.1)
        (files, threads), (files_before, threads_before) = held(server.pid), before
        assert files <= files_before
        assert threads <= threads_before + 1  # one may have joined those that serve; nine ingests ran
