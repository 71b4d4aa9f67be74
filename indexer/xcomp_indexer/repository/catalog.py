"""The repositories of one server and the embedders they share.

Repositories stay open; a model is loaded when the first request needs it. A call that opens, creates or removes a
repository blocks other such calls for the same repository only. `spaces.py` defines the record of a repository (its
profile, its spaces and their digests), which is kept beside its vectors.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.embed.wrappers import InstrumentedEmbedder, with_templates
from xcomp_indexer.repository import spaces
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.repository.image_record import IMAGES
from xcomp_indexer.repository.profiles import spaces_of, stage_of
from xcomp_indexer.repository.repository import Repository, read_config
from xcomp_indexer.repository.spaces import RepositoryConfig, Space
from xcomp_indexer.store import Meta, Store, Stores
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound, Unavailable, XcompError
from xcomp_protos.server import auth

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Exists(Conflict):
    """A repository of this name exists already."""


class RepositoryCatalog:
    """All repositories of a server."""

    def __init__(self, stores: Stores, models: EmbedderCache, *, default_profile: str) -> None:
        self.stores = stores
        self.models = models
        self.default_profile = default_profile
        self._lock = threading.Lock()  # for `_turns`
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()  # by name
        self._open: dict[str, Repository] = {}  # changed by the thread that has the turn
        self._filling: set[str] = set()  # names of repositories that are being imported

    def get(self, name: str, *, profile: str = "") -> Repository:
        """Returns a repository.

        Raises:
            NotFound: there is no repository of this name.
            Conflict: it was created with another profile than the requested one.
        """
        check_name(name)
        repository = self._open.get(name) or self._get_or_open(name)
        repository.reread()
        record = repository.record
        if profile and spaces_of(profile) not in (spaces_of(record.profile), record.specs()):
            raise Conflict(
                f"repository {name!r} was made with profile {repository.profile!r}, not {profile!r}: "
                f"leave --profile out, or choose another --repo"
            )
        return repository

    def get_or_create(self, name: str, *, profile: str = "") -> Repository:
        """Return a repository; create it with the given or the default profile if it does not exist.

        Raises:
            Conflict: a model of the profile cannot be loaded; nothing is created then.
        """
        while True:  # without the lock, since creating one may load a model, which must not block searches
            try:
                return self.get(name, profile=profile)
            except NotFound:
                pass
            try:
                return self.create(name, profile=profile)
            except Exists:
                continue  # another call has created it in between

    def create(self, name: str, *, profile: str = "") -> Repository:
        """Create an empty repository.

        Raises:
            Exists: there is a repository of this name.
            Conflict: a model of the profile cannot be loaded; nothing is created then.
        """
        check_name(name)
        self._check_free(name)  # before a model is loaded, which may fail
        profile = profile or self.default_profile
        embedders = {spec.name: self.models.get(spec.model) for spec in spaces_of(profile)}
        record = spaces.create_config(profile, embedders)
        with self._turn(name):
            store = self._create_store(name, record, record.write())
            self._open[name] = repository = Repository(name, store, record)
            return repository

    @contextmanager
    def create_for_import(self, name: str, record: RepositoryConfig) -> Iterator[Store]:
        """Create a store that only the body of the `with` uses until it ends; an error in the body removes it.

        Raises:
            Exists: there is a repository of this name.
        """
        check_name(name)
        with self._turn(name):
            self._check_not_importing(name)
            store = self._create_store(name, record, {"importing": 1})
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
        """Hold the lock under which the repository of a name is opened, created or removed."""
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:
            yield

    def _check_free(self, name: str) -> None:
        if self.stores.exists(name):
            raise Exists(f"repository {name!r} exists already")

    def _create_store(self, name: str, record: RepositoryConfig, meta: Meta) -> Store:
        self._check_free(name)
        store = self.stores.create(name, {space.name: space.dimension for space in record.spaces.values()})
        store.set_meta(meta)
        return store

    def embedder(self, repository: Repository, space: str) -> Embedder:
        """Return the embedder of a space, with the weights that made its vectors.

        Raises:
            Conflict: it cannot be loaded, or its weights are not those that the repository records.
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
        return InstrumentedEmbedder(with_templates(embedder, record.spaces[space].templates), stage_of(space))

    def exists(self, name: str) -> bool:
        """Whether there is a repository of this name."""
        check_name(name)
        return self.stores.exists(name)

    def names(self) -> list[str]:
        """Return the names of all repositories."""
        return self.stores.names()

    def drop(self, name: str) -> int:
        """Remove a repository with all its vectors; return its number of images, 0 if it cannot be read.

        Raises:
            NotFound: there is no repository of this name.
            Conflict: an ingest is running, or another process has it open.
        """
        with self._turn(name):
            self._require(name)
            repository = self._open.get(name)
            if repository and not repository.ingesting.acquire(blocking=False):
                raise Conflict(f"repository {name!r} is being indexed: wait until that has ended, or stop it")
            try:
                held = self._close_and_count(name)
                self.stores.drop(name)
            finally:
                if repository:
                    repository.ingesting.release()  # an ingest that waits for it finds that the repository was removed
        return held

    def _close_and_count(self, name: str) -> int:
        """Close a repository that is to be removed and count its images; a damaged one can be removed as well."""
        repository = self._open.pop(name, None)
        try:
            store = repository.store if repository else self.stores.open(name)
        except Unavailable:
            return 0
        try:
            return store.count(IMAGES)
        finally:
            store.close()

    def is_open(self, repository: Repository) -> bool:
        """Whether a repository is still open under its name."""
        return self._open.get(repository.name) is repository

    def close(self) -> None:
        """Closes every open repository."""
        while self._open:
            self._open.popitem()[1].store.close()
        self.stores.close()

    def _get_or_open(self, name: str) -> Repository:
        with self._turn(name):
            if name not in self._open:
                self._open[name] = self._open_repository(name)
            return self._open[name]

    def _open_repository(self, name: str) -> Repository:
        self._require(name)
        store = self.stores.open(name)
        try:
            meta = store.meta()
            blank = not meta and not store.count()
            if not blank:
                record = read_config(name, meta)
                _complete_spaces(store, record)
                return Repository(name, store, record)
        except XcompError:
            store.close()
            raise
        store.close()  # a crash came before its models were recorded: it was never complete
        self.stores.drop(name)
        raise self._not_found(name)

    def _require(self, name: str) -> None:
        check_name(name)
        self._check_not_importing(name)
        if not self.stores.exists(name):
            raise self._not_found(name)

    def _check_not_importing(self, name: str) -> None:
        if name in self._filling:
            raise Conflict(f"repository {name!r} is being imported: wait until that has ended")

    def _not_found(self, name: str) -> NotFound:
        known = ", ".join(auth.keep_visible(self.stores.names())) or "none yet"
        return NotFound(
            f"there is no repository {name!r} (there are: {known}): create it with: xcomp index PATH --repo {name}"
        )


def _complete_spaces(store: Store, record: RepositoryConfig) -> None:
    """Add or drop the spaces that the record names, where a crash has interrupted that."""
    present = store.spaces()
    for space in record.spaces.values():
        if space.name not in present:
            store.add_space(space.name, space.dimension)
    for name in present.keys() - record.spaces.keys():
        store.drop_space(name)


def _check_version(repository: str, space: Space, embedder: Embedder) -> None:
    if embedder.digest != space.digest:
        raise Conflict(
            f"repository {repository!r} was embedded with another version of {space.source} "
            f"({space.digest[:12]}, here {embedder.digest[:12]}): embed it with this one beside the old vectors: "
            f"xcomp repo space add {repository} {space.name}2 {space.source}, then switch; "
            f"or delete it with: xcomp repo delete {repository}"
        )


def check_name(name: str) -> None:
    """Raise `InvalidRequest` unless a repository can have this name."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"repository {name!r} is not a valid name: use up to 64 letters, digits, '-', '_' and '.', starting with a "
            "letter or digit"
        )
