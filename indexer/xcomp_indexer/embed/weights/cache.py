"""Where the files of a released model lie on this machine: in a folder of the user's, or in the cache of a hub.

Nothing here reaches for a network: a missing file is an error that names it and the ways out. It knows names, folders
and digests; it knows no model.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from xcomp_protos.errors import InvalidRequest, ModelError

INSTALL = "pip install 'xcomp[indexer]'"
MODELSCOPE = "modelscope:"  # before org/name: a repository of that hub
MODELSCOPE_BRANCH = "master"  # what it calls the branch that everybody means

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_REVISION = re.compile(r"[\w][\w./-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelSource:
    """Where to look for a model's files: a folder, or a repository of the hub or of ModelScope, and a revision.

    `model` is how the user spelled the model, for messages.
    """

    model: str
    folder: Path | None = None
    repository: str = ""
    revision: str = ""
    on_modelscope: bool = False

    def find(self, *names: str) -> Path:
        """Returns the first of these files that is there.

        Raises:
            ModelError: none is; the message names it and the ways out.
        """
        for name in names:
            path = self._path(name)
            if path is not None:
                return path
        if self.folder is None:
            raise self._not_fetched(names[0])
        if not self.folder.is_dir():
            raise ModelError(f"{self.model}: there is no folder {self.folder}")
        raise ModelError(f"{self.model}: {' or '.join(names)} is missing in {self.folder}")

    def has(self, name: str) -> bool:
        """Whether this file is there."""
        return self._path(name) is not None

    def beside(self, name: str) -> "ModelSource":
        """Returns another repository, `org/name`, of the same hub."""
        return in_repository(self.model, f"{MODELSCOPE if self.on_modelscope else ''}{name}")

    @property
    def cache(self) -> Path:
        """The folder of everything that was fetched from this place's hub; both are laid out alike."""
        from huggingface_hub import constants

        cache = Path(constants.HF_HUB_CACHE)
        return cache.parent / "modelscope" if self.on_modelscope else cache

    @property
    def home(self) -> Path:
        """The folder of what was fetched from this repository."""
        return self.cache / f"models--{self.repository.replace('/', '--')}"

    def _path(self, name: str) -> Path | None:
        if self.folder is not None:
            path = self.folder / name
            return path if path.is_file() else None
        from huggingface_hub import try_to_load_from_cache

        revision = self.revision or (MODELSCOPE_BRANCH if self.on_modelscope else None)
        found = try_to_load_from_cache(self.repository, name, revision=revision, cache_dir=self.cache)
        return Path(found) if isinstance(found, str) else None

    def _not_fetched(self, name: str) -> ModelError:
        revision = f" at {self.revision}" if self.revision else ""
        return ModelError(
            f"{self.model} is not on this machine: {name} of {self.repository}{revision} is not in"
            f" {self.cache}; fetch it with: xcomp models pull {self.model}"
            f", or choose --profile lite, which needs no download"
        )


def in_repository(model: str, name: str, *, revision: str = "") -> ModelSource:
    """Returns the place of a repository, `org/name` or `org/name@revision`, on ModelScope after `modelscope:`.

    Raises:
        InvalidRequest: that is no name of a repository.
    """
    on_modelscope = name.startswith(MODELSCOPE)
    repository, _, said = name.removeprefix(MODELSCOPE).partition("@")
    revision = said or revision
    if not _REPOSITORY.fullmatch(repository) or (revision and not _REVISION.fullmatch(revision)) or ".." in name:
        raise InvalidRequest(f"{model!r} names no repository of the hub: write org/name or org/name@revision")
    if on_modelscope and "/" not in repository:
        raise InvalidRequest(f"{model!r} names no repository of ModelScope: write {MODELSCOPE}org/name")
    return ModelSource(model, repository=repository, revision=revision, on_modelscope=on_modelscope)


def folder_of(model: str, name: str) -> ModelSource | None:
    """Returns the place that a path names, or None where `name` is no path.

    Raises:
        InvalidRequest: the path is relative; a server has no folder that it could start from.
    """
    path = Path(name).expanduser() if name.startswith("~") else Path(name)
    if path.is_absolute():
        return ModelSource(model, folder=path)
    if name.startswith("."):
        raise InvalidRequest(f"{model!r} names a folder by half: write its whole path")
    return None


def commit_of(path: Path) -> str:
    """Returns the commit of a file in the cache of a hub, or nothing for a file elsewhere."""
    return path.parent.name if path.parent.parent.name == "snapshots" else ""


def require(model: str, libraries: Sequence[str]) -> None:
    """Raises `ModelError` with the install command if a library is missing."""
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise ModelError(f"{model} needs {', '.join(missing)}: install it with {INSTALL}")


def sha256(path: Path) -> str:
    """Returns the digest of a file.

    Raises:
        ModelError: it cannot be read, or it is not what the hub delivered: its cache names large files by digest.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    expected = path.resolve().name
    if path.is_symlink() and _SHA256.fullmatch(expected) and digest != expected:
        raise ModelError(f"{path.resolve()} is damaged: delete it and fetch it again with: xcomp models pull")
    return digest


def combined(parts: Sequence[str]) -> str:
    """Returns one sha256 over an ordered list of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
