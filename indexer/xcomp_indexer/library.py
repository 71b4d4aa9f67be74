"""The repositories of one server and the embedders they share.

Opening is cheap and remembered; a model is loaded when the first request needs it.
What a repository is made of (its profile, its models and their digests) is kept beside its vectors.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from xcomp_indexer.embed import Embedder
from xcomp_indexer.embed.measured import Measured
from xcomp_indexer.ledger import IMAGES
from xcomp_indexer.models import Models
from xcomp_indexer.profiles import SpaceSpec, is_profile, spaces_of, stage_of
from xcomp_indexer.store import Store, Stores
from xcomp_protos.transport.errors import Conflict, InvalidRequest, NotFound, Unavailable, XcompError

_RECORD = frozenset(("model", "digest", "dimension", "image_size", "languages"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, eq=False)
class Repository:
    """An open repository. Two are the same only if they are one object: a name may be dropped and made again."""

    name: str
    profile: str
    spaces: tuple[SpaceSpec, ...]
    models: Mapping[str, Mapping[str, object]]  # by space, as `_record` made them
    store: Store
    ingesting: threading.Lock = field(default_factory=threading.Lock)  # one ingest at a time

    @property
    def image_size(self) -> int:
        """Pixels that the largest preprocessing of its spaces reads."""
        return max(cast("int", model["image_size"]) for model in self.models.values())


class Exists(Conflict):
    """A repository that is there already."""


class Library:
    """All repositories of a server."""

    def __init__(self, stores: Stores, models: Models, *, default_profile: str) -> None:
        self.stores = stores
        self.models = models
        self.default_profile = default_profile
        self._lock = threading.RLock()
        self._open: dict[str, Repository] = {}
        self._filling: set[str] = set()  # names of repositories that are being imported

    def get(self, name: str, *, profile: str = "") -> Repository:
        """Returns a repository.

        Raises:
            NotFound: there is none of this name.
            Conflict: it was made with another profile than the one asked for.
        """
        check_name(name)
        with self._lock:
            if name not in self._open:
                self._open[name] = self._opened(name)
            repository = self._open[name]
        if profile and spaces_of(profile) != repository.spaces:
            raise Conflict(
                f"repository {name!r} was made with profile {repository.profile!r}, not {profile!r}: "
                f"leave --profile out, or choose another --repo"
            )
        return repository

    def get_or_create(self, name: str, *, profile: str = "") -> Repository:
        """Returns a repository, making it with the given or the default profile where there is none.

        Raises:
            ModelError: a model of the profile cannot be loaded; nothing was made then.
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
            ModelError: a model of the profile cannot be loaded; nothing was made then.
        """
        check_name(name)
        profile = profile or self.default_profile
        specs = spaces_of(profile)
        models = {spec.name: _record(self.models.get(spec.model)) for spec in specs}
        with self._lock:
            store = self._made(name, models, {"profile": profile, "models": models})
            self._open[name] = Repository(name, profile, specs, models, store)
            return self._open[name]

    @contextmanager
    def filling(self, name: str, models: Mapping[str, Mapping[str, object]]) -> Iterator[Store]:
        """Makes a store that is the body's alone until it ends; what the body raises undoes it.

        Raises:
            Exists: there is a repository of this name.
        """
        check_name(name)
        with self._lock:
            self._check_settled(name)
            store = self._made(name, models, {"importing": 1})
            self._filling.add(name)
        done = False
        try:
            yield store
            done = True
        finally:
            with self._lock:
                store.close()
                if not done:
                    self.stores.drop(name)
                self._filling.discard(name)

    def _made(self, name: str, models: Mapping[str, Mapping[str, object]], meta: Mapping[str, object]) -> Store:
        if self.stores.exists(name):
            raise Exists(f"repository {name!r} exists already")
        store = self.stores.create(name, {space: cast("int", each["dimension"]) for space, each in models.items()})
        store.set_meta(meta)
        return store

    def embedder(self, repository: Repository, space: str) -> Embedder:
        """Returns the embedder of a space, the very one that made its vectors.

        Raises:
            ModelError: it cannot be loaded.
            Conflict: what is installed now makes other vectors than those recorded.
        """
        model = next(spec.model for spec in repository.spaces if spec.name == space)
        embedder = self.models.get(model)
        recorded = repository.models[space]["digest"]
        if embedder.digest != recorded:
            raise Conflict(
                f"repository {repository.name!r} was embedded by another version of {model} "
                f"({str(recorded)[:12]}, here {embedder.digest[:12]}): index it anew under another --repo, "
                f"or delete it first with: xcomp repo delete {repository.name}"
            )
        return Measured(embedder, stage_of(space))

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
        self._require(name)
        with self._lock:
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
        with self._lock:
            return self._open.get(repository.name) is repository

    def close(self) -> None:
        """Closes every open repository."""
        with self._lock:
            for repository in self._open.values():
                repository.store.close()
            self._open.clear()
            self.stores.close()

    def _opened(self, name: str) -> Repository:
        self._require(name)
        store = self.stores.open(name)
        try:
            meta = store.meta()
            blank = not meta and not store.count()
            if not blank:
                profile, models = _recorded(name, meta)
                return Repository(name, profile, spaces_of(profile), models, store)
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


def _recorded(name: str, meta: Mapping[str, object]) -> tuple[str, Mapping[str, Mapping[str, object]]]:
    """Reads profile and models of a repository back."""
    profile, models = meta.get("profile"), meta.get("models")
    whole = isinstance(models, Mapping) and all(model.keys() >= _RECORD for model in models.values())
    if not is_profile(profile) or not whole:
        raise Conflict(
            f"repository {name!r} has no record of its models that this version understands: "
            f"delete it with: xcomp repo delete {name}, and index anew"
        )
    return str(profile), cast("Mapping[str, Mapping[str, object]]", models)


def check_name(name: str) -> None:
    """Raises `InvalidRequest` unless `name` can name a repository."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"repository {name!r} is no name: use up to 64 letters, digits, '-', '_' and '.', a letter or digit first"
        )


def _record(embedder: Embedder) -> Mapping[str, object]:
    return {
        "model": embedder.name,
        "digest": embedder.digest,
        "dimension": embedder.dimension,
        "image_size": embedder.image_size,
        "languages": sorted(embedder.languages),
    }
