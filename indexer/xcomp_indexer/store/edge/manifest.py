"""The folder of a repository on disk: its lock, and the manifest that describes its content.

A repository exists if its manifest does: creating writes it last, dropping removes it first. Locks are stored beside
the repositories, so that a repository can be removed while its lock is held.
"""

import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import portalocker

from xcomp_indexer.store.edge import files
from xcomp_protos.errors import Conflict, Unavailable

FORMAT = 3  # increase it when older versions would misread a repository

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """The content of a repository's folder."""

    spaces: Mapping[str, int]
    engine: str  # version that wrote it
    meta: Mapping[str, object] = field(default_factory=dict)
    shard: str = "shard"  # name of the folder that holds the points
    graph: bool = False  # whether the shard has one


class Lock:
    """An exclusive lock on a repository, released at the latest when the process ends; it names its holder."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            Conflict: another process holds it; the message names it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("a+", encoding="utf-8")
        try:
            portalocker.lock(self._file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.LockException:
            holder = _holder(self._file)
            self._file.close()
            raise Conflict(f"repository {path.name!r} is held by {holder}: stop it, or use it with --indexer") from None
        self._file.truncate(0)
        # Callers see it: the arguments of the command may hold a secret.
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "command": Path(sys.argv[0]).name}, self._file)
        self._file.flush()

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        self._file.close()


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        who = json.load(file)
        return f"process {who['pid']} on {who['host']} ({who['command']})"
    except (OSError, ValueError, KeyError, TypeError):  # being written, or locked against reading
        return "another process"


def exists(folder: Path) -> bool:
    """Return whether the folder holds a repository."""
    return (folder / _MANIFEST).is_file()


def read(folder: Path) -> Manifest:
    """Reads the manifest.

    Raises:
        Conflict: a newer version wrote it.
        Unavailable: it is damaged.
    """
    try:
        content = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise Conflict(f"{folder} has format {content['format']}, this version reads {FORMAT}: upgrade xcomp")
        shard, graph = content.get("shard", "shard"), content.get("graph", False)
        return Manifest(content["spaces"], content["engine"], content["meta"], shard, graph)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            f"the manifest in {folder} cannot be read ({error}): restore it, or drop and index again"
        ) from error


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest atomically; it survives a power cut."""
    content = {"format": FORMAT, **asdict(manifest)}
    draft = folder / f"{_MANIFEST}.tmp"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / _MANIFEST)
    files.sync_one(folder)


def next_shard(manifest: Manifest) -> str:
    """Return the name of the folder for the next shard."""
    number = manifest.shard.partition("-")[2]
    return f"shard-{int(number) + 1 if number.isdecimal() else 1}"


def clear(folder: Path, manifest: Manifest) -> None:
    """Remove the shards that a crash left behind: all but the one that the manifest names."""
    for path in folder.glob("shard*"):
        if path.name != manifest.shard:
            files.remove(path)


def remove(folder: Path) -> None:
    """Remove the manifest, and with it the repository."""
    (folder / _MANIFEST).unlink()
    files.sync_one(folder)
