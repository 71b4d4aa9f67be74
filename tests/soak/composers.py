"""Many composers at once on the models that need no weights: all are served, in turn, and nothing piles up in memory.

Indexer (profile `color`) and composer run as processes on loopback. Size is the number of articles for each model.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypedDict

from tests import images, servers
from tests.soak.grpc_fuzz import held
from tests.soak.proof import Outcome, Steps, run
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.client import ComposerClient
from xcomp_protos.errors import XcompError

AT_ONCE = 32
TEXT = "# A day\n\nA red boat lies on the beach.\n\nHonesty matters more than success.\n\nThe blue sea was calm.\n"
SPREAD = 3.0  # the slowest composer's mean wait in units of the median; a starved one is far beyond
GROWTH = 0.1  # of memory, from a fifth of the articles to all of them
SLACK_BYTES = 24 * 2**20  # what the allocator of the C library keeps for itself

Act = Callable[[ComposerClient], object]


class Result(TypedDict):
    """What a step came to."""

    wrong: list[str]
    said: str


def illustrate(client: ComposerClient) -> object:
    """Illustrates with `retrieval`."""
    request = pb.IllustrateRequest(text=TEXT, options=pb.Options(repository="default"))
    *_, last = client.illustrate(request)
    return last.article.segments[0]


def compose(client: ComposerClient) -> object:
    """Writes with the echo, which answers with its own prompt."""
    options = pb.Options(repository="default", model="echo")
    *_, last = client.compose(pb.ComposeRequest(instruction=TEXT, options=options))
    return last.article.segments[0]


class Crowd:
    """Composers that send one article after the other until enough are done."""

    def __init__(self, address: str, act: Act, size: int) -> None:
        self._address = address
        self._act = act
        self._left = size
        self._lock = threading.Lock()
        self.waits: list[list[float]] = [[] for _ in range(AT_ONCE)]
        self.wrong: list[str] = []

    def run(self) -> None:
        """Returns when all are done."""
        threads = [threading.Thread(target=self._one, args=(waits,)) for waits in self.waits]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _one(self, waits: list[float]) -> None:
        with ComposerClient(self._address) as client:
            while self._taken():
                begun = time.monotonic()
                try:
                    self._act(client)
                except XcompError as error:
                    self.wrong.append(f"{type(error).__name__}: {error}")
                waits.append(time.monotonic() - begun)

    def _taken(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0


def trial(act: Act, size: int) -> Result:
    """Lets the crowd work; a fifth of the articles first, to warm up."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        photos = images.library(folder / "photos", {"red.jpg": images.RED, "blue.jpg": images.BLUE})
        indexer = stack.enter_context(servers.indexer(folder))
        held(indexer.address, photos)
        composer = stack.enter_context(servers.composer(folder, indexer.address))
        warm = Crowd(composer.address, act, max(size // 5, AT_ONCE))
        warm.run()
        before = [each.resident_bytes() for each in (indexer, composer)]
        crowd = Crowd(composer.address, act, size)
        crowd.run()
        after = [each.resident_bytes() for each in (indexer, composer)]
    means = sorted(statistics.mean(waits) for waits in crowd.waits if waits)
    spread, least = means[-1] / statistics.median(means), min(map(len, crowd.waits))
    wrong = [*warm.wrong, *crowd.wrong]
    if spread > SPREAD or not least:
        wrong.append(f"unfair: the slowest mean is {spread:.1f} medians, the fewest articles are {least}")
    for kind, was, now in zip(("indexer", "composer"), before, after, strict=True):
        if now > was * (1 + GROWTH) + SLACK_BYTES:
            wrong.append(f"the {kind} grew from {was / 1e6:.0f} to {now / 1e6:.0f} MB")
    grown = ", ".join(f"{was / 1e6:.0f} → {now / 1e6:.0f} MB" for was, now in zip(before, after, strict=True))
    return Result(wrong=wrong, said=f"slowest mean {spread:.2f} of the median, memory {grown}")


def prove(size: int, _: int, steps: Steps) -> Outcome:
    """Tries both models."""
    results = {
        "retrieval": steps.once("retrieval", lambda: trial(illustrate, size)),
        "echo": steps.once("echo", lambda: trial(compose, size)),
    }
    wrong = [each for result in results.values() for each in result["wrong"]]
    print(*wrong[:20], sep="\n")
    said = "; ".join(f"{name}: {result['said']}" for name, result in results.items())
    return Outcome(not wrong, f"{AT_ONCE} at once, {len(wrong)} failures; {said}")


if __name__ == "__main__":
    run("composers", prove, size=500)
