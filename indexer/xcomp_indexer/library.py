"""The repositories of one server and the embedders they share.

Opening is cheap and remembered; a model is loaded when the first request needs it and freed after a while without one.
What a repository is made of (its profile, its models and their digests) is kept beside its vectors.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xcomp_indexer import embed
from xcomp_indexer.embed import Embedder
from xcomp_indexer.profiles import SpaceSpec, spaces_of
from xcomp_indexer.store import Store, Stores
from xcomp_protos.transport.errors import Conflict, InvalidRequest, NotFound

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Repository:
    """An open repository."""

    name: str
    profile: str
    spaces: tuple[SpaceSpec, ...]
    models: Mapping[str, Mapping[str, object]]  # by space: model, digest, dimension, languages, as recorded
    store: Store
    ingesting: threading.Lock = field(default_factory=threading.Lock)  # one ingest at a time


class Models:
    """Embedders in memory, each loaded once."""

    def __init__(self, load: Callable[[str], Embedder] = embed.load) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._loaded: dict[str, Embedder] = {}
        self._used: dict[str, float] = {}

    def get(self, model: str) -> Embedder:
        """Returns an embedder, loading it if need be; callers that come meanwhile wait.

        Raises:
            ModelError: it cannot be loaded.
        """
        with self._lock:
            if model not in self._loaded:
                started = time.monotonic()
                self._loaded[model] = self._load(model)
                log.info("event=model_loaded model=%s seconds=%.1f", model, time.monotonic() - started)
            self._used[model] = time.monotonic()
            return self._loaded[model]

    def names(self) -> list[str]:
        """Names the models in memory."""
        return sorted(self._loaded)

    def free_idle(self, after_s: float) -> None:
        """Lets go of models that nobody asked for since `after_s` seconds."""
        with self._lock:
            for model in [name for name, used in self._used.items() if time.monotonic() - used > after_s]:
                del self._loaded[model], self._used[model]
                log.info("event=model_freed model=%s", model)


class Library:
    """All repositories of a server."""

    def __init__(self, stores: Stores, models: Models, *, default_profile: str) -> None:
        self.stores = stores
        self.models = models
        self.default_profile = default_profile
        self._lock = threading.RLock()
        self._open: dict[str, Repository] = {}

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
        with self._lock:
            try:
                return self.get(name, profile=profile)
            except NotFound:
                return self.create(name, profile=profile)

    def create(self, name: str, *, profile: str = "") -> Repository:
        """Makes an empty repository.

        Raises:
            Conflict: there is one of this name.
            ModelError: a model of the profile cannot be loaded; nothing was made then.
        """
        check_name(name)
        profile = profile or self.default_profile
        specs = spaces_of(profile)
        models = {spec.name: _record(self.models.get(spec.model)) for spec in specs}
        with self._lock:
            if self.stores.exists(name):
                raise Conflict(f"repository {name!r} exists already")
            dimensions = {spec.name: self.models.get(spec.model).dimension for spec in specs}
            store = self.stores.create(name, dimensions)
            store.set_meta({"profile": profile, "models": models})
            self._open[name] = Repository(name, profile, specs, models, store)
            return self._open[name]

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
        return embedder

    def names(self) -> list[str]:
        """Names all repositories."""
        return self.stores.names()

    def drop(self, name: str) -> int:
        """Removes a repository with all its vectors; returns how many images it held.

        Raises:
            NotFound: there is none of this name.
            Conflict: an ingest is under way.
        """
        repository = self.get(name)
        with self._lock:
            if not repository.ingesting.acquire(blocking=False):
                raise Conflict(f"repository {name!r} is being indexed: wait until that has ended, or stop it")
            held = repository.store.count()
            repository.store.close()
            del self._open[name]
            self.stores.drop(name)
            return held

    def close(self) -> None:
        """Closes every open repository."""
        with self._lock:
            for repository in self._open.values():
                repository.store.close()
            self._open.clear()
            self.stores.close()

    def _opened(self, name: str) -> Repository:
        if not self.stores.exists(name):
            known = ", ".join(self.stores.names()) or "none yet"
            raise NotFound(
                f"there is no repository {name!r} (there are: {known}): make it with: xcomp index PATH --repo {name}"
            )
        store = self.stores.open(name)
        meta = store.meta()
        profile, models = str(meta.get("profile")), meta.get("models")
        if not isinstance(models, Mapping):
            store.close()
            raise Conflict(f"repository {name!r} has no record of its models: delete it and index anew")
        return Repository(name, profile, spaces_of(profile), models, store)


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
        "languages": sorted(embedder.languages),
    }
