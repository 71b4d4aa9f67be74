"""The current shard of a repository, its readers, and a journal of what was written since a copy was taken.

Readers are counted, so one shard can replace another while it is read: the old one is closed when its last reader has
left. Writers take turns. Does not depend on the meaning of points.

The engine raises bare `Exception`; `translate_errors` turns it into `XcompError`. The engine stops every Python thread
during a call, belongs to one process, and a fork must not inherit it.
"""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import qdrant_edge as qe

from xcomp_indexer.store.edge import files
from xcomp_indexer.store.edge import manifest as folder
from xcomp_protos.errors import Conflict, Exhausted, Unavailable, XcompError

VERSION = version("qdrant-edge-py")

# The command line has a bound of its own for starting servers, since no package imports the other.
# The engine maps files whose pages get room on the disk when they are written; if there is no room, the system ends
# the process. A batch of points needs a few megabytes, and its log 32.
ROOM_BYTES = 64 * 2**20


@dataclass
class Journal:
    """What was written since a copy was taken."""

    shapes: list[qe.UpdateOperation] = field(default_factory=list)  # spaces added and dropped, in their order
    ids: set[str] = field(default_factory=set)  # of points that were written or removed

    def take(self, count: int) -> tuple[list[qe.UpdateOperation], list[str]]:
        """Remove and return the changes of spaces and that many points."""
        shapes, self.shapes = self.shapes, []
        return shapes, [self.ids.pop() for _ in range(min(count, len(self.ids)))]


@dataclass
class Shard:
    """An open shard."""

    engine: qe.EdgeShard
    path: Path
    readers: int = 0


class ShardHandle:
    """An open repository. It releases the lock that it gets."""

    def __init__(self, path: Path, lock: folder.Lock) -> None:
        self.path, self._lock = path, lock
        self.manifest = folder.read(path)
        _check_engine(path, self.manifest.engine)
        folder.clear(path, self.manifest)
        self.writers = threading.RLock()  # held while writing
        self.rebuilding = threading.Lock()  # held while another shard is built
        self.builder: subprocess.Popen[str] | None = None  # the process that builds it
        self.journal: Journal | None = None  # while another shard is built
        self._readers = threading.Condition()
        self._pid, self._closed = os.getpid(), False
        with translate_errors(path):
            shard = path / self.manifest.shard
            self._shard = Shard(qe.EdgeShard.load(str(shard)), shard)

    @contextmanager
    def use_engine(self) -> Iterator[qe.EdgeShard]:
        """Provide the engine for one call, and count a reader meanwhile."""
        if os.getpid() != self._pid:
            raise Unavailable(f"the repository in {self.path} was opened before a fork: open it in the new process")
        with self._readers:
            if self._closed:
                raise Unavailable(f"the repository in {self.path} is closed: open it again")
            shard = self._shard
            shard.readers += 1
        try:
            with translate_errors(self.path):
                yield shard.engine
        finally:
            with self._readers:
                shard.readers -= 1
                self._readers.notify_all()

    def write(self, operation: qe.UpdateOperation, ids: Iterable[str]) -> None:
        """Changes points, named by their ids.

        Raises:
            Exhausted: the disk is full.
        """
        with self.writers:
            check_room(self.path)
            if self.journal:  # first, since a call that fails may have changed some of them
                self.journal.ids.update(ids)
            with self.use_engine() as engine:
                engine.update(operation)

    def reshape(self, operation: qe.UpdateOperation) -> None:
        """Adds or drops a space, or adds an index.

        Raises:
            Exhausted: the disk is full.
        """
        with self.writers:
            check_room(self.path)
            if self.journal:
                self.journal.shapes.append(operation)
            with self.use_engine() as engine:
                engine.update(operation)

    def save(self, manifest: folder.Manifest) -> None:
        """Exchanges the manifest."""
        with self.use_engine():
            folder.write(self.path, replace(manifest, engine=VERSION))
        self.manifest = manifest

    def copy(self, to: Path) -> None:
        """Copy the current shard; writers wait meanwhile, readers do not."""
        with self.writers:
            with self.use_engine() as engine:
                engine.flush()
            files.copy(self.path / self.manifest.shard, to)

    def exchange(self, engine: qe.EdgeShard, path: Path, *, graph: bool) -> Shard:
        """Replace the shard; return the old one, which the caller must retire."""
        with self.writers:
            self.save(replace(self.manifest, shard=path.name, graph=graph))
            self.journal = None
            with self._readers:
                old, self._shard = self._shard, Shard(engine, path)
                return old

    def discard(self, draft: Path) -> None:
        """Remove a shard that was not put to use."""
        with self.writers:
            self.journal = None
            if (
                not self._closed and draft.name != self.manifest.shard
            ):  # after closing, another process may own the folder
                files.remove(draft)

    def retire(self, old: Shard) -> None:
        """Removes a shard when its last reader has left."""
        with self._readers:
            self._readers.wait_for(lambda: not old.readers)
        with translate_errors(old.path):
            old.engine.close()
        files.remove(old.path)

    def close(self) -> None:
        """Flush and release the shard and its lock; a second call does nothing."""
        with self.writers:
            with self._readers:
                if self._closed:
                    return
                self._closed = True
                self._readers.wait_for(lambda: not self._shard.readers)
            if self.builder:
                self.builder.kill()
                self.builder.wait()
            try:
                with translate_errors(self.path):
                    self._shard.engine.flush()
                    self._shard.engine.close()
                folder.clear(self.path, self.manifest)
            finally:
                self._lock.release()


def check_room(path: Path) -> None:
    """Raise `Exhausted` if the disk is full."""
    if not has_room(path):
        free = shutil.disk_usage(path).free
        raise Exhausted(f"the disk of {path} has {free / 2**20:.0f} MB left: make room, what was written stays")


def has_room(path: Path) -> bool:
    """Return whether the disk has room for a write."""
    return shutil.disk_usage(path).free >= ROOM_BYTES


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn what the engine raises for the folder of a repository into `XcompError`."""
    try:
        yield
    except XcompError:
        raise
    except BaseException as error:  # the engine has no exception types, and its panics are no `Exception`
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).partition("\n")[0]
        if "WouldBlock" in reason:
            raise Conflict(f"the repository in {path} is held by another process: stop it first") from error
        raise Unavailable(f"the embedded store in {path} failed: {reason}") from error


def _check_engine(path: Path, written_by: str) -> None:
    if _minor(written_by) > _minor(VERSION):
        raise Conflict(f"{path} was written by qdrant-edge-py {written_by}, installed is {VERSION}: upgrade it")


def _minor(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:2]]
