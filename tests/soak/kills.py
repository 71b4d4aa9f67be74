"""Store, indexer and composer killed and started again in the middle of load: every request ends, nothing is lost.

Size is the number of kills of each. Callers keep their clients over all of them. What was acknowledged is looked for at
the end; with the embedded store it survives the indexer's death, with a Qdrant server (the shim) it is the server's.
"""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from pathlib import Path

from tests import images, servers
from tests.shim import Shim
from tests.soak.composers import Result, illustrate
from tests.soak.grpc_fuzz import held
from tests.soak.proof import Outcome, Steps, run
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import ComposerClient, IndexerClient
from xcomp_protos.errors import Cancelled, DeadlineExceeded, Exhausted, Unavailable

DOCUMENTED = (Unavailable, Exhausted, DeadlineExceeded, Cancelled)
BACK_S = 30.0  # a client of before must be served again by then
UP_S = 1.0  # of load between kills
AWAY_S = 0.3
LONG_S = 12.0  # the store is asked for 10


@dataclass
class Load:
    """Callers that go on whatever happens."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)  # ids of uploads
    stop: threading.Event = field(default_factory=threading.Event)

    def keep(self, name: str, act: Callable[[], object]) -> threading.Thread:
        """Starts a caller."""
        thread = threading.Thread(target=self._run, args=(name, act))
        thread.start()
        return thread

    def _run(self, name: str, act: Callable[[], object]) -> None:
        while not self.stop.is_set():
            try:
                act()
                self.outcomes[f"{name} done"] += 1
            except DOCUMENTED as error:
                self.outcomes[f"{name} {type(error).__name__}"] += 1
                time.sleep(0.05)
            except Exception as error:  # noqa: BLE001  # that is what is looked for
                self.wrong.append(f"{name}: {type(error).__name__}: {error}")
                time.sleep(0.05)


def search(client: IndexerClient) -> pb.SearchResponse:
    """Searches the photographs."""
    queries = [pb.Query(parts=[pb.QueryPart(text="red")])]
    return client.search(pb.SearchRequest(repository="default", queries=queries, k=3))


def upload(client: IndexerClient, number: int) -> str:
    """Uploads a new image; returns its id."""
    content = images.jpeg((number % 256, number // 256 % 256, 90), (64, 40 + number % 200)) + number.to_bytes(8, "big")
    header = pb.UploadHeader(
        repository="default",
        name=f"{number}.jpg",
        size_bytes=len(content),
        content_hash=blake2b(content, digest_size=16).hexdigest(),
    )
    return client.upload(header, [content]).image_id


@contextmanager
def loaded(load: Load, indexer: str, composer: str) -> Iterator[tuple[IndexerClient, ComposerClient]]:
    """Keeps searchers, an uploader and composers at work."""
    numbers = count(1)
    with IndexerClient(indexer, timeout_s=20) as one, ComposerClient(composer, timeout_s=20) as other:
        acts: list[tuple[str, Callable[[], object]]] = [
            *[("search", lambda: search(one))] * 2,
            *[("illustrate", lambda: illustrate(other))] * 2,
            ("upload", lambda: load.acknowledged.add(upload(one, next(numbers)))),
        ]
        threads = [load.keep(name, act) for name, act in acts]
        try:
            yield one, other
        finally:
            load.stop.set()
            for thread in threads:
                thread.join()


def comes_back(act: Callable[[], object]) -> bool:
    """Whether a call succeeds before the patience ends."""
    end = time.monotonic() + BACK_S
    while time.monotonic() < end:
        try:
            act()
        except DOCUMENTED:
            time.sleep(0.1)
        else:
            return True
    return False


def processes(kills: int) -> Result:
    """Kills indexer and composer in turn, with the embedded store."""
    load = Load()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        photos = images.library(folder / "photos", {"red.jpg": images.RED, "blue.jpg": images.BLUE})
        indexer = stack.enter_context(servers.indexer(folder))
        held(indexer.address, photos)
        composer = stack.enter_context(servers.composer(folder, indexer.address))
        with loaded(load, indexer.address, composer.address) as (one, other):
            for at in range(2 * kills):
                victim = (indexer, composer)[at % 2]
                time.sleep(UP_S)
                victim.kill()
                time.sleep(AWAY_S)
                victim.start()
                for act in (lambda: search(one), lambda: illustrate(other)):
                    if not comes_back(act):
                        load.wrong.append(f"after kill {at} of {victim.module} a client is not served again")
        present = everything(indexer.address)
        load.wrong += [f"acknowledged and lost: {each}" for each in load.acknowledged - present]
        load.wrong += [line for each in (indexer, composer) for line in each.said().splitlines() if "Traceback" in line]
    return _result(load, f"{2 * kills} kills, {len(load.acknowledged)} acknowledged uploads")


def everything(address: str) -> set[str]:
    """The ids of all images."""
    found, token = set(), ""
    with IndexerClient(address) as client:
        while True:
            page = client.list_images(pb.ListRequest(repository="default", page_size=1000, page_token=token))
            found |= {image.id for image in page.images}
            token = page.next_page_token
            if not token:
                return found


def store(kills: int, *, first_away_s: float = AWAY_S) -> Result:
    """Takes the Qdrant server away and brings it back; the first time for longer than the indexer has patience."""
    load = Load()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        photos = images.library(folder / "photos", {"red.jpg": images.RED, "blue.jpg": images.BLUE})
        shim = Shim("http")
        indexer = stack.enter_context(servers.indexer(folder, "--store", shim.address))
        held(indexer.address, photos)
        composer = stack.enter_context(servers.composer(folder, indexer.address))
        with loaded(load, indexer.address, composer.address) as (one, other):
            for at in range(kills):
                time.sleep(UP_S)
                shim.__exit__(None, None, None)
                time.sleep(AWAY_S if at else first_away_s)
                shim = Shim("http", port=shim.port, backend=shim.backend)
                if not (comes_back(lambda: search(one)) and comes_back(lambda: illustrate(other))):
                    load.wrong.append(f"after outage {at} of the store a client is not served again")
        load.wrong += [f"acknowledged and lost: {each}" for each in load.acknowledged - everything(indexer.address)]
        shim.__exit__(None, None, None)
    told = any(each.endswith((" Unavailable", " DeadlineExceeded")) for each in load.outcomes)
    if first_away_s >= LONG_S and not told:
        load.wrong.append("the store was away, and no caller was told")
    return _result(load, f"{kills} outages of the store")


def _result(load: Load, fact: str) -> Result:
    done = ", ".join(f"{name} {number}" for name, number in sorted(load.outcomes.items()))
    if not load.acknowledged or not load.outcomes["search done"] or not load.outcomes["illustrate done"]:
        load.wrong.append(f"no load: {done}")
    return Result(wrong=sorted(set(load.wrong)), said=f"{fact} ({done})")


def prove(size: int, _: int, steps: Steps) -> Outcome:
    """Tries processes, then the store."""
    results = [
        steps.once("processes", lambda: processes(size)),
        steps.once("store", lambda: store(size, first_away_s=LONG_S)),
    ]
    wrong = [each for result in results for each in result["wrong"]]
    print(*wrong[:20], sep="\n")
    return Outcome(not wrong, "; ".join(result["said"] for result in results))


if __name__ == "__main__":
    run("kills", prove, size=20)
