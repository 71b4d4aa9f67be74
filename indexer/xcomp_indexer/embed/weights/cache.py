"""Finds the files of a released model on this machine: in a folder of the user, or where `xcomp models pull` puts them.

Nothing here uses a network: a missing file is an error that names it and says how to get it. This file knows names,
folders and digests. It does not depend on any model.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xcomp_protos.errors import InvalidRequest, ModelError

HUB, MODELSCOPE = "hf-hub:", "modelscope:"  # stand before org/name

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_REVISION = re.compile(r"[\w][\w./-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelSource:
    """Where the files of a model are.

    With `folder` alone it is a folder of the user, with `repository` alone the cache of the hub. With both it is the
    folder of a model that was fetched from ModelScope. `model` is the user's spelling, for messages.
    """

    model: str
    folder: Path | None = None
    repository: str = ""
    revision: str = ""

    @property
    def is_on_modelscope(self) -> bool:
        """Whether the files come from ModelScope."""
        return bool(self.folder and self.repository)

    @property
    def is_local(self) -> bool:
        """Whether the files lie in a folder of the user and were not fetched."""
        return bool(self.folder and not self.repository)

    def find(self, *names: str) -> Path:
        """Returns the first of these files that exists.

        Raises:
            ModelError: none exists; the message names the first and says what to do.
        """
        for name in names:
            path = self._path(name)
            if path is not None:
                return path
        if self.repository:
            raise self._missing_error(names[0])
        if not self.folder or not self.folder.is_dir():
            raise ModelError(f"{self.model}: there is no folder {self.folder}")
        raise ModelError(f"{self.model}: {' or '.join(names)} is missing in {self.folder}")

    def has(self, name: str) -> bool:
        """Whether this file exists."""
        return self._path(name) is not None

    def beside(self, name: str) -> "ModelSource":
        """Returns another repository, `org/name`, of the same hub."""
        return parse_repository(self.model, f"{MODELSCOPE if self.is_on_modelscope else ''}{name}")

    def fetched_files(self) -> list[Path]:
        """Returns all files that were fetched from this repository."""
        home = self.folder or _hub_cache() / f"models--{self.repository.replace('/', '--')}" / "snapshots"
        return sorted(path for path in home.rglob("*") if path.is_symlink() or path.is_file())

    def _path(self, name: str) -> Path | None:
        if self.folder is not None:
            path = self.folder / name
            return path if path.is_file() else None
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, name, revision=self.revision or None, cache_dir=_hub_cache())
        return Path(found) if isinstance(found, str) else None

    def _missing_error(self, name: str) -> ModelError:
        revision = f" at {self.revision}" if self.revision else ""
        return ModelError(
            f"{self.model} is not on this machine: {name} of {self.repository}{revision} is not in"
            f" {self.folder or _hub_cache()}; fetch it with: xcomp models pull {self.model}"
            f", or choose --profile lite, which needs no download"
        )


def parse_repository(model: str, name: str, *, revision: str = "") -> ModelSource:
    """Returns the source that `org/name` or `org/name@revision` names; `hf-hub:` or `modelscope:` may stand before it.

    Raises:
        InvalidRequest: this is not the name of a repository.
    """
    repository, _, own_revision = name.removeprefix(HUB).removeprefix(MODELSCOPE).partition("@")
    revision = own_revision or revision
    if not _REPOSITORY.fullmatch(repository) or (revision and not _REVISION.fullmatch(revision)) or ".." in name:
        raise InvalidRequest(f"{model!r} names no repository of the hub: write org/name or org/name@revision")
    if not name.startswith(MODELSCOPE):
        return ModelSource(model, repository=repository, revision=revision)
    if "/" not in repository:
        raise InvalidRequest(f"{model!r} names no repository of ModelScope: write {MODELSCOPE}org/name")
    folder = _modelscope_home() / repository / (revision or "master").replace("/", "--")
    return ModelSource(model, folder, repository, revision)


def parse_folder(model: str, name: str) -> ModelSource | None:
    """Returns the source that a path names, or None if `name` is not a path.

    Raises:
        InvalidRequest: the path is relative; a server has no folder to resolve it against.
    """
    path = Path(name).expanduser() if name.startswith("~") else Path(name)
    if path.is_absolute():
        return ModelSource(model, folder=path)
    if name.startswith("."):
        raise InvalidRequest(f"{model!r} names a relative folder: write its absolute path")
    return None


def list_repositories() -> Iterator[tuple[str, Path]]:
    """Yields name and folder of each repository that was fetched; the folder has one sub-folder for each revision."""
    for home in sorted(_hub_cache().glob("models--*--*/snapshots")):
        yield f"{HUB}{home.parent.name.removeprefix('models--').replace('--', '/', 1)}", home
    for home in sorted(_modelscope_home().glob("*/*")):
        yield f"{MODELSCOPE}{home.parent.name}/{home.name}", home


def _hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _modelscope_home() -> Path:
    return _hub_cache().parent / "modelscope"


def commit_of(path: Path) -> str:
    """Returns the commit of a file in the cache of the hub, or an empty text for a file elsewhere."""
    return path.parent.name if path.parent.parent.name == "snapshots" else ""


def sha256(path: Path) -> str:
    """Returns the digest of a file.

    Raises:
        ModelError: the file cannot be read, or it lies in the cache of the hub under another digest than its own.
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


def combine(parts: Sequence[str]) -> str:
    """Returns one sha256 over an ordered list of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
