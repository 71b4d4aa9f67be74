"""`python -m xcomp_indexer.admin.verify_models MODEL…`: compares fetched models with their digests.

The cache of the hub names every file by the digest that the hub gave it: sha256 for large files, git's own for small
ones. A model from ModelScope has its digests in a file. Nothing here uses a network or loads a model.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xcomp_indexer.admin.pull_models import CHECKSUMS, expand_profiles
from xcomp_indexer.embed import registry
from xcomp_indexer.embed.weights.cache import ModelSource, parse_repository
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
    """Verifies the named models; returns the exit status."""
    parser = argparse.ArgumentParser("xcomp models verify", description="Reads fetched models again.")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="a model, or a profile for all of its models")
    models = parser.parse_args(arguments).models
    return run_main(lambda: max(map(_verify, expand_profiles(models)), default=0))


def _verify(model: str) -> int:
    """Prints what differs in the files of a model; returns the exit status."""
    files = list(verify(model))
    wrong = [file for file in files if file.trouble]
    for file in wrong:
        print(f"error: {file.path}: {file.trouble}", file=sys.stderr)  # noqa: T201  # CLI output
    size_mb = sum(file.size for file in files) / 1e6
    summary = f"{len(wrong)} of {len(files)} files differ" if wrong else f"{len(files)} files as fetched"
    print(f"{model}: {summary}, {size_mb:.1f} MB", flush=True)  # noqa: T201  # CLI output
    for file in files:
        print(f"  {file.sha256}  {file.path.name}")  # noqa: T201
    return FAILED if wrong else 0


def verify(model: str) -> Iterator[CachedFile]:
    """Yields the fetched files of a model, each read once.

    Raises:
        ModelError: no file was fetched, or the model is a folder of the user, which has no digests to compare with.
    """
    source = _source_of(model)
    paths = [path for path in source.fetched_files() if path.name != CHECKSUMS]
    if not paths:
        raise ModelError(f"{model} is not on this machine: fetch it with: xcomp models pull {model}")
    checksums = _read_checksums(source.folder) if source.folder else {}
    for path in paths:
        yield _read(path, checksums.get(path) or path.resolve().name)


def _source_of(model: str) -> ModelSource:
    family = registry.FAMILIES.get(model.partition(":")[0])  # a model without a family is one of the composer's
    source = family.release(model).source if family else parse_repository(model, model)
    if source.is_local:
        raise ModelError(f"{model} is a folder of yours: there are no digests to compare its files with")
    return source


def _read_checksums(folder: Path) -> dict[Path, str]:
    file = folder / CHECKSUMS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {folder / name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _read(path: Path, expected: str) -> CachedFile:
    blob = path.resolve()
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
