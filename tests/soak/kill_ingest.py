"""kill -9 at random moments of an ingest by a real server: what the next run leaves equals an undisturbed run.

Every other server seals its store again and again meanwhile, as one does that takes in very many images.
"""

import os
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypedDict
from unittest import mock

from tests import images
from tests.fakes import CountingEmbedder
from tests.processes import process
from tests.soak import proof
from tests.soak.proof import Outcome, Steps
from xcomp_indexer.images import decode
from xcomp_indexer.ingest.events import IngestRequest, Summary
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.store.factory import open_stores
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Unavailable

SIZE = 50  # kills
_SEALING_S = 1.0  # what that takes longer
_OLD, _NEW, _BROKEN = 150, 250, 10  # files that are there before, come, and are no images
State = dict[str, tuple[dict[str, object], dict[str, bytes]]]


class Result(TypedDict):
    """What came of one kill."""

    acknowledged: int  # files that the server had said were done
    killed: bool  # else the ingest was faster
    problems: list[str]


def prove(size: int, seed: int, steps: Steps) -> Outcome:
    """Kills `size` ingests."""
    results: list[Result] = []
    for number in range(size):
        result = steps.once(str(number), partial(kill, seed, number))
        print(f"kill {number}: {result['acknowledged']} files acknowledged {' '.join(result['problems'])}", flush=True)
        results.append(result)
    problems = [problem for result in results for problem in result["problems"]]
    killed = [result["acknowledged"] for result in results if result["killed"]]
    cut = f"{len(killed)} of {size} ingests were cut short, after {min(killed)} to {max(killed)} files"
    return Outcome(not problems and len(killed) > size / 2, f"{cut}; {len(problems)} problems")


def kill(seed: int, number: int, *, new: int = _NEW) -> Result:
    """Kills one ingest at a random moment, completes it, and compares with one that ran through."""
    source, sealing = random.Random(f"{seed} {number}"), number % 2 == 1
    with tempfile.TemporaryDirectory(prefix="xcomp-kill-") as home:
        folder = Path(home)
        photos = _before(folder / "photos")
        for name in ("cut", "whole"):
            _run(folder / name, photos)
        todo = _change(photos, source, new=new)
        moment = source.uniform(0, 1.2 * _run(folder / "whole", photos).seconds + sealing * _SEALING_S)
        acknowledged, killed = _cut_short(folder / "cut", photos, after_s=moment, sealing=sealing)
        with _reading() as read:
            summary = _run(folder / "cut", photos)
        problems = _differences(_state(folder / "cut"), _state(folder / "whole"))
        again = len([path for path in read if "broken" not in path])
        if again > todo - max(0, acknowledged - _BROKEN):
            problems.append(f"{again} of {todo} files were read again, though {acknowledged} were acknowledged")
        if summary.removable:
            problems.append(f"{summary.removable} removals were refused")
    return {"acknowledged": acknowledged, "killed": killed, "problems": [f"kill {number}: {each}" for each in problems]}


def _before(photos: Path) -> Path:
    return images.library(photos, {f"old/{at:03}.jpg": (at, 255 - at, 90) for at in range(_OLD)})


def _change(photos: Path, source: random.Random, *, new: int) -> int:
    """Adds, changes, renames, copies, breaks and removes files; returns how many images there are to read."""
    images.library(photos, {f"new/{at:03}.jpg": (at % 256, 40, at // 2) for at in range(new)})
    images.library(photos, {f"new/{at:03}-broken.jpg": (1, 2, 3) for at in range(_BROKEN)})
    for broken in (photos / "new").glob("*-broken.jpg"):
        broken.write_bytes(source.randbytes(100))
    old = [photos / "old" / f"{at:03}.jpg" for at in source.sample(range(_OLD), 60)]
    (photos / "moved").mkdir()
    for path in old[:20]:
        path.rename(photos / "moved" / path.name)
    for path in old[20:40]:
        shutil.copyfile(path, photos / "moved" / f"copy-{path.name}")
    for path in old[40:50]:
        path.write_bytes(images.jpeg((9, 9, 200), (90, 60)) + path.name.encode())
        os.utime(path, (1, 1))
    for path in old[50:60]:
        path.unlink()
    return new + 20 + 20 + 10


def _cut_short(home: Path, photos: Path, *, after_s: float, sealing: bool) -> tuple[int, bool]:
    """Lets a server ingest and kills it; returns how many files it said were done, and whether it was still at it."""
    acknowledged = 0
    module = "tests.soak.sealing_server" if sealing else "xcomp_indexer.server.main"
    with process(home, module=module) as (server, address), IndexerClient(address) as client:
        client.list_repositories()
        killer = threading.Timer(after_s, server.kill)
        killer.start()
        try:
            for event in client.ingest(pb.IngestRequest(repository="default", paths=[str(photos)])):
                if event.progress.total:  # else it counts what is there, while the store is sealed at the end
                    acknowledged = max(acknowledged, event.progress.done)
        except Unavailable:
            return acknowledged, True
        finally:
            killer.cancel()
            server.kill()
            server.wait()
    return acknowledged, False


def _run(home: Path, photos: Path) -> Summary:
    with _library(home) as library:
        repository = library.get_or_create("default")
        *_, summary = Ingest(repository, partial(library.embedder, repository), IngestRequest([str(photos)])).run()
    assert isinstance(summary, Summary)
    return summary


def _state(home: Path) -> State:
    """Everything that is known of every file, vectors included."""
    with _library(home) as library:
        points = library.get("default").store.scan(vectors=True)
        return {
            point.id: ({**point.payload}, {space: row.tobytes() for space, row in point.vectors.items()})
            for point in points
        }


def _differences(state: State, expected: State) -> list[str]:
    lost, more = len(expected.keys() - state.keys()), len(state.keys() - expected.keys())
    other = [str(expected[key][0]["path"]) for key in state.keys() & expected.keys() if state[key] != expected[key]]
    return (
        [f"{lost} points lost, {more} too many, {len(other)} different, {other[:1]}"] if lost or more or other else []
    )


@contextmanager
def _library(home: Path) -> Iterator[RepositoryCatalog]:
    embedder = CountingEmbedder()
    library = RepositoryCatalog(
        open_stores(f"edge:{home / 'repositories'}"), EmbedderCache(lambda _: embedder), default_profile="color"
    )
    try:
        yield library
    finally:
        library.close()


@contextmanager
def _reading() -> Iterator[list[str]]:
    """Lists the files that are read."""
    read: list[str] = []
    whole = decode.read

    def noted(path: str) -> bytes:
        read.append(path)
        return whole(path)

    with mock.patch.object(decode, "read", noted):
        yield read


if __name__ == "__main__":
    proof.run("kill_ingest", prove, size=SIZE)
