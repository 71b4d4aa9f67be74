"""`python -m xcomp_indexer.admin.verify_models MODEL…`: checks the digests of fetched models.

The cache of a hub names every file by the digest that the hub gave it: sha256 for large files and all of ModelScope's,
git's own for small ones. Nothing here asks a network, and nothing is loaded.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xcomp_indexer.admin.pull_models import named
from xcomp_indexer.embed.weights import cache, sources
from xcomp_indexer.embed.weights.cache import ModelSource
from xcomp_protos.errors import ModelError, run_main

FAILED = 1
_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class CachedFile:
    """A fetched file, and what is wrong with it, if anything."""

    path: Path
    size: int
    sha256: str
    trouble: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verifies the models named; returns the exit status."""
    parser = argparse.ArgumentParser("xcomp models verify", description="Reads fetched models again.")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="a model, or a profile for all of its models")
    models = parser.parse_args(arguments).models
    return run_main(lambda: max(map(_verify, named(models)), default=0))


def _verify(model: str) -> int:
    """Prints what differs in the files of a model; returns the exit status."""
    files = list(verified(model))
    wrong = [file for file in files if file.trouble]
    for file in wrong:
        print(f"error: {file.path}: {file.trouble}", file=sys.stderr)  # noqa: T201  # its result
    size_mb = sum(file.size for file in files) / 1e6
    said = f"{len(wrong)} of {len(files)} files differ" if wrong else f"{len(files)} files as fetched"
    print(f"{model}: {said}, {size_mb:.1f} MB", flush=True)  # noqa: T201  # its result
    for file in files:
        print(f"  {file.sha256}  {file.path.name}")  # noqa: T201
    return FAILED if wrong else 0


def verified(model: str) -> Iterator[CachedFile]:
    """Yields the fetched files of a model, each read once.

    Raises:
        ModelError: nothing of it was fetched, or it has no digests to compare with: it is a folder of yours.
    """
    home = _place(model).home
    paths = sorted(path for path in home.glob("snapshots/*/**/*") if path.is_symlink() or path.is_file())
    if not paths:
        raise ModelError(f"{model} is not on this machine: fetch it with: xcomp models pull {model}")
    for path in paths:
        yield _read(path)


def _place(model: str) -> ModelSource:
    """Returns the repository that a model's files come from."""
    family = model.partition(":")[0]
    readers = {"open_clip": sources.open_clip, "chinese_clip": sources.chinese_clip}
    place = readers[family](model).place if family in readers else cache.in_repository(model, model)
    if place.folder is not None:
        raise ModelError(f"{model} is a folder of yours: nobody recorded what its files should be")
    return place


def _read(path: Path) -> CachedFile:
    blob, expected = path.resolve(), path.resolve().name
    try:
        size = blob.stat().st_size
        sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        with blob.open("rb") as stream:
            while piece := stream.read(1 << 20):
                sha256.update(piece)
                git.update(piece)
    except OSError as error:
        return CachedFile(path, 0, "-" * 64, f"cannot be read: {error.strerror}")
    known = sha256.hexdigest() if _SHA256.fullmatch(expected) else git.hexdigest() if _GIT.fullmatch(expected) else ""
    trouble = "" if known == expected else "is not what was fetched: delete it and pull the model again"
    return CachedFile(path, size, sha256.hexdigest(), trouble if known else "came without a digest")


if __name__ == "__main__":
    sys.exit(main())
