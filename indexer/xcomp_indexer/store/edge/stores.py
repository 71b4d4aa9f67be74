"""The repositories of the embedded store: one folder each under a root.

A repository exists if its manifest does. Its lock is held while it is created, open or dropped.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge as qe

from xcomp_indexer.store import IndexKind, validate
from xcomp_indexer.store.edge import config, manifest
from xcomp_indexer.store.edge.indexes import Fields
from xcomp_indexer.store.edge.shard import VERSION, ShardHandle, check_room, translate_errors
from xcomp_indexer.store.edge.store import EdgeStore
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound, Unavailable
from xcomp_protos.machine import core_count

INDEX_FROM = 1000  # points from which on filters are indexed
SEAL_FROM = 4_000  # points whose indexes take enough memory, some 16 MB, to be moved to the disk
GRAPH_FROM = 100_000  # points from which on a graph is built; exact search takes some 20 ms below


def connect(address: str, *, api_key: str | None, indexes: Mapping[str, IndexKind]) -> "EdgeStores":  # noqa: ARG001  # the registry passes it
    """Return the repositories under the folder of an address `edge:FOLDER`."""
    folder = address.removeprefix("edge:")
    if not folder:
        raise InvalidRequest(f"store address {address!r}: name a folder, as in edge:FOLDER")
    return EdgeStores(Path(folder).expanduser(), indexes=indexes)


class EdgeStores:
    """The repositories under one root folder."""

    def __init__(
        self,
        root: Path,
        *,
        indexes: Mapping[str, IndexKind],
        index_from: int = INDEX_FROM,
        seal_from: int = SEAL_FROM,
        graph_from: int = GRAPH_FROM,
    ) -> None:
        self._root = root.absolute()
        self._indexes = indexes
        self._index_from, self._seal_from, self._graph_from = index_from, seal_from, graph_from

    @property
    def place(self) -> str:
        """The address, for messages."""
        return f"edge:{self._root}"

    def names(self) -> list[str]:
        """Names of the repositories, sorted."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if manifest.exists(path))

    def exists(self, name: str) -> bool:
        """Says whether there is such a repository."""
        return manifest.exists(self._root / validate.name(name))

    def create(self, name: str, spaces: Mapping[str, int]) -> EdgeStore:
        """Creates a repository and opens it."""
        validate.spaces(spaces)
        with self._lock(name) as lock:
            path = self._root / name
            if manifest.exists(path):
                raise Conflict(f"repository {name!r} exists already")
            shutil.rmtree(path, ignore_errors=True)  # left behind by a crash during a create or a drop
            check_room(self._root)
            with translate_errors(path):
                qe.EdgeShard.create(str(path / "shard"), config.config_for_writes(spaces, threads=core_count())).close()
            manifest.write(path, manifest.Manifest(dict(spaces), engine=VERSION))
            return self._store(ShardHandle(path, lock))

    def open(self, name: str) -> EdgeStore:
        """Opens a repository."""
        self._require(name)
        with self._lock(name) as lock:
            self._require(name)  # it may have been dropped in between
            return self._store(ShardHandle(self._root / name, lock))

    def drop(self, name: str) -> None:
        """Removes a repository and all its vectors."""
        self._require(name)
        with self._lock(name) as lock:
            self._require(name)
            manifest.remove(self._root / name)
            shutil.rmtree(self._root / name, ignore_errors=True)  # what stays without a manifest is not a repository
            lock.release()

    def close(self) -> None:
        """Do nothing: every open store has its own files."""

    def _store(self, handle: ShardHandle) -> EdgeStore:
        fields = Fields(handle, self._indexes, index_from=self._index_from)
        return EdgeStore(handle, fields, seal_from=self._seal_from, graph_from=self._graph_from)

    def _require(self, name: str) -> None:
        if not self.exists(name):
            raise NotFound(f"no repository {name!r}: index one first, or see which exist with 'xcomp repo list'")

    @contextmanager
    def _lock(self, name: str) -> Iterator[manifest.Lock]:
        """Take the lock; release it if the body fails, otherwise the body passes it on."""
        try:
            lock = manifest.Lock(self._root / ".locks" / validate.name(name))
        except OSError as error:
            raise Unavailable(f"the store's folder {self._root} cannot be written: {error.strerror}") from error
        try:
            yield lock
        except BaseException:
            lock.release()
            raise
