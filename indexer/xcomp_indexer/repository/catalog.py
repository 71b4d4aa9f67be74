"""The repositories of one server and the embedders they share.

Opening is remembered; a model is loaded when the first request needs it. Who opens, makes or removes a repository
keeps those waiting who want the same one, and nobody else.
What a repository is made of (its profile, its spaces and their digests) is kept beside its vectors, as `spaces.py` has
it.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from xcomp_indexer.embed import Embedder
from xcomp_indexer.embed.wrappers import (
    InstrumentedEmbedder,
    templated,
)
from xcomp_indexer.repository import spaces
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.repository.image_record import (
    IMAGES,
)
from xcomp_indexer.repository.profiles import spaces_of, stage_of
from xcomp_indexer.repository.repository import Repository, read_config
from xcomp_indexer.repository.spaces import RepositoryConfig, Space
from xcomp_indexer.store import Meta, Store, Stores
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound, Unavailable, XcompError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Exists(Conflict):
    """A repository that is there already."""


class RepositoryCatalog:
    """All repositories of a server."""

    def __init__(self, stores: Stores, models: EmbedderCache, *, default_profile: str) -> None:
        self.stores = stores
        self.models = models
        self.default_profile = default_profile
        self._lock = threading.Lock()  # of the turns
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()  # by name
        self._open: dict[str, Repository] = {}  # changed by whoever has the turn
        self._filling: set[str] = set()  # names of repositories that are being imported

    def get(self, name: str, *, profile: str = "") -> Repository:
        """Returns a repository.

        Raises:
            NotFound: there is none of this name.
            Conflict: it was made with another profile than the one asked for.
        """
        check_name(name)
        repository = self._open.get(name) or self._opened(name)
        repository.reread()
        record = repository.record
        if profile and spaces_of(profile) not in (spaces_of(record.profile), record.specs()):
            raise Conflict(
                f"repository {name!r} was made with profile {repository.profile!r}, not {profile!r}: "
                f"leave --profile out, or choose another --repo"
            )
        return repository

    def get_or_create(self, name: str, *, profile: str = "") -> Repository:
        """Returns a repository, making it with the given or the default profile where there is none.

        Raises:
            Conflict: a model of the profile cannot be loaded; nothing was made then.
        """
        while True:  # without the lock, since making one may load a model while others want to search
            try:
                return self.get(name, profile=profile)
            except NotFound:
                pass
            try:
                return self.create(name, profile=profile)
            except Exists:
                continue  # another call made it meanwhile

    def create(self, name: str, *, profile: str = "") -> Repository:
        """Makes an empty repository.

        Raises:
            Exists: there is one of this name.
            Conflict: a model of the profile cannot be loaded; nothing was made then.
        """
        check_name(name)
        self._check_free(name)  # before a model is loaded for nothing, or missed
        profile = profile or self.default_profile
        embedders = {spec.name: self.models.get(spec.model) for spec in spaces_of(profile)}
        record = spaces.create_config(profile, embedders)
        with self._turn(name):
            store = self._made(name, record, record.write())
            self._open[name] = repository = Repository(name, store, record)
            return repository

    @contextmanager
    def filling(self, name: str, record: RepositoryConfig) -> Iterator[Store]:
        """Makes a store that is the body's alone until it ends; what the body raises undoes it.

        Raises:
            Exists: there is a repository of this name.
        """
        check_name(name)
        with self._turn(name):
            self._check_settled(name)
            store = self._made(name, record, {"importing": 1})
            self._filling.add(name)
        done = False
        try:
            yield store
            done = True
        finally:
            with self._turn(name):
                store.close()
                if not done:
                    self.stores.drop(name)
                self._filling.discard(name)

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """Waits until nobody else opens, makes or removes the repository of a name, and keeps it so."""
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:
            yield

    def _check_free(self, name: str) -> None:
        if self.stores.exists(name):
            raise Exists(f"repository {name!r} exists already")

    def _made(self, name: str, record: RepositoryConfig, meta: Meta) -> Store:
        self._check_free(name)
        store = self.stores.create(name, {space.name: space.dimension for space in record.spaces.values()})
        store.set_meta(meta)
        return store

    def embedder(self, repository: Repository, space: str) -> Embedder:
        """Returns the embedder of a space, the very one that made its vectors.

        Raises:
            Conflict: it cannot be loaded, or what is installed now makes other vectors than those recorded.
        """
        record = repository.record
        try:
            embedder = self.models.get(record.spaces[space].source)
            _check_version(repository.name, record.spaces[space], embedder)
        except Conflict as error:
            if space in record.active:
                raise
            way_out = f"if space {space!r} is not wanted any more: xcomp repo space drop {repository.name} {space}"
            raise Conflict(f"{error}; {way_out}") from None
        return InstrumentedEmbedder(templated(embedder, record.spaces[space].templates), stage_of(space))

    def exists(self, name: str) -> bool:
        """Whether there is a repository of this name."""
        check_name(name)
        return self.stores.exists(name)

    def names(self) -> list[str]:
        """Names all repositories."""
        return self.stores.names()

    def drop(self, name: str) -> int:
        """Removes a repository with all its vectors; returns how many images it held, 0 where it cannot be read.

        Raises:
            NotFound: there is none of this name.
            Conflict: an ingest is under way, or another process holds it.
        """
        with self._turn(name):
            self._require(name)
            repository = self._open.get(name)
            if repository and not repository.ingesting.acquire(blocking=False):
                raise Conflict(f"repository {name!r} is being indexed: wait until that has ended, or stop it")
            try:
                held = self._emptied(name)
                self.stores.drop(name)
            finally:
                if repository:
                    repository.ingesting.release()  # who waits for it finds the repository gone
        return held

    def _emptied(self, name: str) -> int:
        """Closes a repository for good; a damaged one must not be in the way of its own removal."""
        repository = self._open.pop(name, None)
        try:
            store = repository.store if repository else self.stores.open(name)
        except Unavailable:
            return 0
        try:
            return store.count(IMAGES)
        finally:
            store.close()

    def holds(self, repository: Repository) -> bool:
        """Whether a repository is still open under its name."""
        return self._open.get(repository.name) is repository

    def close(self) -> None:
        """Closes every open repository."""
        while self._open:
            self._open.popitem()[1].store.close()
        self.stores.close()

    def _opened(self, name: str) -> Repository:
        with self._turn(name):
            if name not in self._open:
                self._open[name] = self._loaded(name)
            return self._open[name]

    def _loaded(self, name: str) -> Repository:
        self._require(name)
        store = self.stores.open(name)
        try:
            meta = store.meta()
            blank = not meta and not store.count()
            if not blank:
                record = read_config(name, meta)
                _complete(store, record)
                return Repository(name, store, record)
        except XcompError:
            store.close()
            raise
        store.close()  # a crash came between making it and recording its models: it never was
        self.stores.drop(name)
        raise self._absent(name)

    def _require(self, name: str) -> None:
        check_name(name)
        self._check_settled(name)
        if not self.stores.exists(name):
            raise self._absent(name)

    def _check_settled(self, name: str) -> None:
        if name in self._filling:
            raise Conflict(f"repository {name!r} is being imported: wait until that has ended")

    def _absent(self, name: str) -> NotFound:
        known = ", ".join(self.stores.names()) or "none yet"
        return NotFound(
            f"there is no repository {name!r} (there are: {known}): make it with: xcomp index PATH --repo {name}"
        )


def _complete(store: Store, record: RepositoryConfig) -> None:
    """Ends what a crash cut short after a change of the record: a space that was added or dropped."""
    present = store.spaces()
    for space in record.spaces.values():
        if space.name not in present:
            store.add_space(space.name, space.dimension)
    for name in present.keys() - record.spaces.keys():
        store.drop_space(name)


def _check_version(repository: str, space: Space, embedder: Embedder) -> None:
    if embedder.digest != space.digest:
        raise Conflict(
            f"repository {repository!r} was embedded by another version of {space.source} "
            f"({space.digest[:12]}, here {embedder.digest[:12]}): embed it by this one beside the old vectors with: "
            f"xcomp repo space add {repository} {space.name}2 {space.source}, then switch; "
            f"or delete it with: xcomp repo delete {repository}"
        )


def check_name(name: str) -> None:
    """Raises `InvalidRequest` unless `name` can name a repository."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"repository {name!r} is no name: use up to 64 letters, digits, '-', '_' and '.', a letter or digit first"
        )
