"""Broken files without end: images of every format and their sidecars, mutated; a seed makes the same every time."""

import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from PIL import Image

from tests import images

_SIDECAR = json.dumps(
    {
        "title": "Harbour 港口",
        "tags": ["a", "b"],
        "expires": "2031-01-01",
        "internal": False,
        "n": 1.5,
        "deep": {"a": [1]},
    }
).encode()
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)


@dataclass(frozen=True)
class Mutant:
    """A file and its sidecar."""

    name: str
    content: bytes
    sidecar: bytes | None


def mutant(seed: int, number: int) -> Mutant:
    """Makes one file."""
    source = random.Random(f"{seed} {number}")
    originals = _originals()
    kind = source.choice(sorted(originals))
    content = originals[kind]
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        content = source.choice(_MUTATIONS)(content, source)
    sidecar = None
    if source.random() < 0.15:
        sidecar = source.choice(_MUTATIONS)(_SIDECAR, source)
    return Mutant(f"{number:06}-{kind.replace('.', '-')}.{kind.rpartition('.')[2]}", content, sidecar)


@cache
def _originals() -> dict[str, bytes]:
    broken = {name: make() for name, (make, _) in images.BROKEN.items()}
    told = {"telling.jpg": images.telling(), "turned.jpg": images.oriented(6), "noted.png": images.noted()}
    odd = {
        "thin.png": images.encoded(Image.new("RGB", (1, 60_000)), "PNG"),
        "flat.jpg": images.encoded(Image.new("RGB", (60_000, 1))),
        "dot.gif": images.encoded(Image.new("P", (1, 1)), "GIF"),
        "progressive.jpg": images.encoded(images.plain(), progressive=True),
        "interlaced.png": images.encoded(images.striped(images.RED, images.BLUE), "PNG"),
        "lzw.tif": images.encoded(images.plain(), "TIFF", compression="tiff_lzw"),
        "jpeg.tif": images.encoded(images.plain(), "TIFF", compression="jpeg"),
        "lossless.webp": images.encoded(images.plain(), "WEBP", lossless=True),
        "random.jpg": random.Random(0).randbytes(3000),
    }
    return {name: make() for name, make in images.READABLE.items()} | broken | told | odd


def _cut(content: bytes, source: random.Random) -> bytes:
    return content[: source.randint(0, len(content))]


def _flip(content: bytes, source: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(source.choice((1, 2, 8, 64))):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


def _overwrite_head(content: bytes, source: random.Random) -> bytes:
    """Extreme bytes where sizes and counts stand."""
    changed = bytearray(content or b"\0")
    for _ in range(source.randint(1, 6)):
        changed[source.randrange(min(len(changed), 200))] = source.choice(_EXTREMES)
    return bytes(changed)


def _overwrite_number(content: bytes, source: random.Random) -> bytes:
    at, order = source.randrange(len(content) + 1), source.choice("<>")
    number = struct.pack(f"{order}I", source.choice((0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)))
    return content[:at] + number + content[at + 4 :]


def _splice(content: bytes, source: random.Random) -> bytes:
    """The head of one file before the tail of another."""
    other = source.choice(sorted(_originals().values()))
    return content[: source.randint(0, min(len(content), 64))] + other[source.randint(0, len(other)) :]


def _repeat(content: bytes, source: random.Random) -> bytes:
    begin, end = sorted(source.randint(0, len(content)) for _ in range(2))
    return content[:end] + content[begin:end] * source.randint(1, 3) + content[end:]


def _remove(content: bytes, source: random.Random) -> bytes:
    begin, end = sorted(source.randint(0, len(content)) for _ in range(2))
    return content[:begin] + content[end:]


def _noise(content: bytes, source: random.Random) -> bytes:
    begin = source.randint(0, len(content))
    return content[:begin] + source.randbytes(source.choice((1, 16, 500)))


_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _cut, _flip, _flip, _overwrite_head, _overwrite_number, _splice, _repeat, _remove, _noise,
)  # fmt: skip
