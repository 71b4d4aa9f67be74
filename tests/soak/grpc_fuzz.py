"""Random, structurally valid messages to every method of both services: documented statuses only, no word logged.

Indexer (profile `color`) and composer run as processes on loopback; four callers send at once.
"""

import re
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import TypedDict

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests import images, servers
from tests.soak.fuzz import MARK, Fuzz
from tests.soak.proof import Outcome, Steps, run
from xcomp_protos import composer_pb2, indexer_pb2
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import ComposerClient, IndexerClient

SIZE = 20_000
PORTION = 2_000  # messages between two looks at the servers
AT_ONCE = 4
DEADLINE_S = 30.0
DOCUMENTED = frozenset((
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
    "UNAVAILABLE", "UNIMPLEMENTED", "DATA_LOSS",
))  # fmt: skip


class Portion(TypedDict):
    """What a step came to."""

    statuses: dict[str, int]
    wrong: list[str]


@dataclass
class Seen:
    """What came back."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)  # by method and status
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, method: str, number: int, status: str, details: str) -> None:
        with self.lock:
            self.statuses[method, status] += 1
            if status not in DOCUMENTED:
                self.wrong.append(f"message {number} to {method}: {status}: {details[:200]}")


def methods() -> list[MethodDescriptor]:
    """Every method of both services."""
    services = (
        indexer_pb2.DESCRIPTOR.services_by_name["Indexer"],
        composer_pb2.DESCRIPTOR.services_by_name["Composer"],
    )
    return [method for service in services for method in service.methods]


def vocabulary(photos: Path, ids: Sequence[str]) -> Fuzz:
    """What gets past the first checks of servers that hold these photographs in the repository `default`."""
    picture = next(photos.glob("*.jpg")).read_bytes()
    profiles = ("color", "color=color:hsv", "x=color:hsv,y=color:hsv", "none", "x=", f"{MARK}=a:b")
    known: dict[str, Sequence[object]] = {
        "repository": ("default",),
        "name": ("made", "other", "a.b"),
        "paths": (str(photos), str(photos / "red.jpg"), f"{photos}/../{photos.name}", str(photos / "none")),
        "profile": (*[""] * 6, *profiles),
        "model": ("", "", "retrieval", "echo", "openai:", "openai-text:x", f"{MARK}-model"),
        "space": ("color", ""),
        "format": ("markdown", "text", ""),
        "image": (*[picture] * 5, picture[: len(picture) // 2]),
        "chunk": (picture, picture[:100]),
        "content_hash": ("0" * 32, blake2b(picture, digest_size=16).hexdigest()),
        "image_id": ids,
        "ids": (*ids[:1], "00000000-0000-0000-0000-000000000000"),
        "exclude_ids": ids,
        "only_ids": ids,
        "page_token": ("", *ids),
        "text": ("A red boat lies on the beach.\n\nHonesty matters.\n", "红色的小船停在沙滩上。"),
        "context": ("A red boat lies on the beach.",),
        "instruction": ("Write of boats.",),
        "query": ("a red boat",),
        "where": ("width>=1", "path:x/**", "not tag=x", "date>=2024-01", "(", "and", 'a="', "width>=" + "9" * 400),
        "weight": (1.0, -0.5),
        **dict.fromkeys(("segment", "spot", "candidate", "after"), (0, 0, 1)),
        **dict.fromkeys(("k", "page_size", "max_px"), (1, 3, 16)),
    }
    return Fuzz(known, closed=frozenset({"model", "profile"}))


def bombard(addresses: Sequence[str], fuzz: Fuzz, numbers: Iterable[int], seed: int) -> Seen:
    """Sends the messages of these numbers, several at once."""
    seen, all_methods = Seen(), methods()
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(address)) for address in addresses]
        by_service = dict(zip(("Indexer", "Composer"), channels, strict=True))
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))

        def send(number: int) -> None:
            random = Random(f"{seed}:{number}")
            method = random.choice(all_methods)
            status, details = call(by_service[method.containing_service.name], method, fuzz, random)
            seen.add(method.name, number, status, details)

        list(pool.map(send, numbers))
    return seen


def call(channel: grpc.Channel, method: MethodDescriptor, fuzz: Fuzz, random: Random) -> tuple[str, str]:
    """Makes one call; returns status and details."""
    given: Iterator[Message] = (
        fuzz.stream(random, method.input_type)
        if method.client_streaming
        else iter([fuzz.message(random, method.input_type)])
    )
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer = GetMessageClass(method.output_type)
    try:
        for _ in channel.stream_stream(path, _serialized, answer.FromString)(given, timeout=DEADLINE_S):
            pass
    except grpc.RpcError as error:
        details = error.details() or ""
        kinds = {entry.key: str(entry.value) for entry in error.trailing_metadata() or ()}
        if error.code() is grpc.StatusCode.INTERNAL and kinds.get("xcomp-error") == "ModelError":
            return "OK", details  # documented: a model without a usable answer
        return error.code().name, details
    return "OK", ""


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def defects(log: str) -> list[str]:
    """What a log must not hold: tracebacks, and words of those who called."""
    found = [line for line in log.splitlines() if re.search(r"Traceback|defect$|defect request", line)]
    return found + [f"logged: {line[:200]}" for line in log.splitlines() if MARK in line]


def prove(size: int, seed: int, steps: Steps) -> Outcome:
    """Sends `size` messages in portions to servers of their own."""
    statuses: Counter[str] = Counter()
    wrong: list[str] = []
    for start in range(0, size, PORTION):
        numbers = range(start, min(start + PORTION, size))
        done = steps.once(f"{start}", partial(portion, numbers, seed))
        statuses.update(done["statuses"])
        wrong += done["wrong"]
        print(f"{numbers.stop} messages, {len(wrong)} wrong", flush=True)
    print(*(f"{name:24}{count:8}" for name, count in statuses.most_common()), *wrong[:50], sep="\n")
    counted = ", ".join(f"{name} {count}" for name, count in statuses.most_common(4))
    return Outcome(not wrong, f"{len(methods())} methods, {len(wrong)} undocumented answers or log lines; {counted}")


def portion(numbers: Sequence[int], seed: int) -> Portion:
    """Sends the messages of these numbers to servers of their own."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        photos = images.library(folder / "photos", {"red.jpg": images.RED, "blue.jpg": images.BLUE})
        indexer = stack.enter_context(servers.indexer(folder, "--allow-root", str(photos)))
        composer = stack.enter_context(servers.composer(folder, indexer.address))
        seen = bombard(
            (indexer.address, composer.address), vocabulary(photos, held(indexer.address, photos)), numbers, seed
        )
        wrong = [*seen.wrong, *defects(indexer.said()), *defects(composer.said())]
        wrong += [f"{each} is dead" for each in (indexer, composer) if each.popen.poll() is not None]
        with IndexerClient(indexer.address) as one, ComposerClient(composer.address) as other:
            if not (one.healthy() and other.healthy() and one.describe().version and other.describe().version):
                wrong.append("a server does not serve any more")
    totals: Counter[str] = Counter()
    for (_, status), count in seen.statuses.items():
        totals[status] += count
    return {"statuses": dict(totals), "wrong": wrong}


def held(address: str, photos: Path) -> list[str]:
    """Indexes the photographs; returns their ids."""
    with IndexerClient(address) as client:
        list(client.ingest(pb.IngestRequest(repository="default", paths=[str(photos)])))
        return [image.id for image in client.list_images(pb.ListRequest(repository="default")).images]


if __name__ == "__main__":
    run("grpc_fuzz", prove, size=SIZE)
