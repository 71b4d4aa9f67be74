"""Slow, vanished and hostile callers harm no one else: another caller is served meanwhile, and all resources return.

Size is the number of each kind of abuse. Descriptors, threads and memory of the indexer are compared after a fifth of
the abuse and after all of it.
"""

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import grpc

from tests import images, servers
from tests.servers import Process
from tests.soak.composers import GROWTH, SLACK_BYTES, Result
from tests.soak.grpc_fuzz import defects, held
from tests.soak.kills import search
from tests.soak.proof import Outcome, Steps, run
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import XcompError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4\0" + bytes(4)
ANYONE = (
    "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)  # fmt: skip
OVERSIZED = bytes(5 * 2**20)
SETTLED_S = 30.0
FEW = 8  # descriptors that may come and go


def connected(address: str) -> socket.socket:
    """Opens a bare connection."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def random_bytes(address: str, random: Random) -> None:
    """Sends noise, half of it behind a proper beginning."""
    with connected(address) as noisy, suppress(OSError):
        noisy.sendall(random.choice((b"", PREFACE, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) + random.randbytes(300))


def cut_short(address: str, random: Random) -> None:
    """Begins to speak and goes away without a word: the reset that a killed process leaves."""
    with connected(address) as gone:
        gone.sendall(PREFACE[: random.randrange(len(PREFACE))])
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def oversized(channel: grpc.Channel, _: Random) -> None:
    """Sends a message over the limit."""
    with suppress(grpc.RpcError):
        channel.unary_unary("/xcomp.v1.Indexer/Search", bytes, bytes)(OVERSIZED, timeout=10)


def cancelled(channel: grpc.Channel, random: Random) -> None:
    """Calls and hangs up, at once or in the middle."""
    stub = rpc.IndexerStub(channel)
    call = random.choice((
        lambda: stub.Search.future(pb.SearchRequest(repository="default", k=1)),
        lambda: stub.Export(pb.ExportRequest(name="default")),
        lambda: stub.Ingest(pb.IngestRequest(repository="default", paths=["/nowhere"])),
    ))()  # fmt: skip
    time.sleep(random.choice((0, 0, 0.002)))
    call.cancel()  # type: ignore[no-untyped-call]


def deaf(channel: grpc.Channel, _: Random) -> None:
    """Takes one part of an answer and leaves the rest until it forgets the call."""
    with suppress(grpc.RpcError, StopIteration):
        next(iter(rpc.IndexerStub(channel).Export(pb.ExportRequest(name="default"), timeout=2)))


def silent(channel: grpc.Channel, random: Random) -> None:
    """Opens a call that anybody may make and sends nothing, or a message now and then, until it is ended."""
    method = random.choice(ANYONE)
    with suppress(grpc.RpcError):
        list(channel.stream_stream(method, bytes, bytes)(_drip(random.choice((30, 2))), timeout=15))


def _drip(pause_s: float) -> Iterator[bytes]:
    time.sleep(pause_s)
    yield b""


@dataclass
class Witness:
    """A caller who only wants to search."""

    address: str
    served: int = 0
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Searches until told to stop."""
        with IndexerClient(self.address, timeout_s=20) as client:
            while not self.stop.wait(0.02):
                try:
                    search(client)
                    self.served += 1
                except XcompError as error:
                    self.wrong.append(f"the witness: {type(error).__name__}: {error}")


def abuse(address: str, size: int, random: Random) -> None:
    """Does everything `size` times, several kinds side by side, with connections left half open meanwhile."""
    half_open = [connected(address) for _ in range(min(size, 200))]
    for each in half_open:
        each.sendall(PREFACE[: random.randrange(len(PREFACE) + 1)])
    with grpc.insecure_channel(address, options=(("grpc.max_send_message_length", -1),)) as channel:
        kinds: list[tuple[Callable[[], None], int]] = [
            (lambda: random_bytes(address, random), size),
            (lambda: cut_short(address, random), size),
            (lambda: oversized(channel, random), max(size // 20, 1)),
            (lambda: cancelled(channel, random), 10 * size),
            (lambda: deaf(channel, random), size),
        ]
        threads = [threading.Thread(target=_often, args=kind) for kind in kinds]
        threads += [threading.Thread(target=silent, args=(channel, random)) for _ in range(min(size, 100))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for each in half_open:
        each.close()


def _often(act: Callable[[], None], times: int) -> None:
    for _ in range(times):
        act()


def trial(size: int, seed: int) -> Result:
    """Abuses an indexer while a witness searches."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        photos = images.library(folder / "photos", {f"{at}.jpg": images.RED for at in range(20)})
        indexer = stack.enter_context(servers.indexer(folder))
        held(indexer.address, photos)
        witness = Witness(indexer.address)
        thread = threading.Thread(target=witness.run)
        thread.start()
        abuse(indexer.address, max(size // 5, 10), random)
        before = settled(indexer, indexer.descriptors())
        abuse(indexer.address, size, random)
        after = settled(indexer, before[0] + FEW)
        witness.stop.set()
        thread.join()
        wrong = [*witness.wrong, *defects(indexer.said()), *_grown(before, after)]
    said = f"a witness was served {witness.served} times; descriptors, threads, MB: {_words(before)} → {_words(after)}"
    if not witness.served:
        wrong.append("the witness was never served")
    return Result(wrong=wrong, said=said)


def settled(process: Process, descriptors: int) -> tuple[int, int, int]:
    """Waits until connections are gone; returns descriptors, threads and bytes."""
    end = time.monotonic() + SETTLED_S
    while process.descriptors() > descriptors and time.monotonic() < end:
        time.sleep(0.2)
    return process.descriptors(), process.threads(), process.resident_bytes()


def _grown(before: tuple[int, int, int], after: tuple[int, int, int]) -> list[str]:
    allowed = (before[0] + FEW, max(before[1] + 2, _threads_at_most()), before[2] * (1 + GROWTH) + SLACK_BYTES)
    names = ("descriptors", "threads", "bytes")
    return [
        f"{name} grew from {was} to {now}"
        for name, was, now, most in zip(names, before, after, allowed, strict=True)
        if now > most
    ]


def _threads_at_most() -> int:
    """The pool of calls grows to its bound and stays there; beside it, each library has a few per core."""
    return 72 + 16 * (os.cpu_count() or 1)


def _words(state: tuple[int, int, int]) -> str:
    return f"{state[0]}, {state[1]}, {state[2] / 1e6:.0f}"


def prove(size: int, seed: int, steps: Steps) -> Outcome:
    """Does it once."""
    result = steps.once("abuse", lambda: trial(size, seed))
    print(*result["wrong"][:20], sep="\n")
    return Outcome(not result["wrong"], result["said"])


if __name__ == "__main__":
    run("hostile", prove, size=1000)
