"""`python -m xcomp_indexer.admin.pull_models MODEL…`: fetches models; only this module of the indexer fetches any.

The client of the hub reads HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE; the last two hold for ModelScope as well. Every
fetched model is loaded once, to show that it works.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from xcomp_indexer import embed
from xcomp_indexer.embed import registry
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.embed.weights.cache import ModelSource
from xcomp_indexer.embed.weights.sources import Release
from xcomp_indexer.repository.profiles import PROFILES, spaces_of
from xcomp_protos.errors import InvalidRequest, ModelError, run_main
from xcomp_protos.server import options

if TYPE_CHECKING:
    from modelscope_hub.types import FileInfo

MODELSCOPE_ENDPOINT = "https://www.modelscope.cn"
CHECKSUMS = "SHA256SUMS"  # beside the files of a model from ModelScope, for `verify_models` and `sha256sum -c`


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetches the named models; returns the exit status."""
    parser = argparse.ArgumentParser("xcomp models pull", description="Fetches models from a hub and tests them.")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="a model, or a profile for all of its models")
    parser.add_argument("--keep", action="store_true", help="do not use the network for models that are here and work")
    options.add_option(
        parser, "--modelscope", "MODELSCOPE_ENDPOINT", default=MODELSCOPE_ENDPOINT, help="address of ModelScope"
    )
    given = parser.parse_args(arguments)
    return run_main(lambda: _pull_all(given))


def _pull_all(given: argparse.Namespace) -> None:
    options.check_hub()
    for model in expand_profiles(given.models):
        embedder = (_load_if_here(model) if given.keep else None) or pull(model, modelscope=given.modelscope)
        print(f"{embedder.name}  sha256 {embedder.digest[:12]}  {embedder.dimension} wide", flush=True)  # noqa: T201  # CLI output


def pull(model: str, *, modelscope: str = MODELSCOPE_ENDPOINT) -> Embedder:
    """Fetches the files of a model that are not here yet, and loads it.

    Raises:
        InvalidRequest: the name is not that of a model.
        ModelError: the hub cannot be reached or has no such files, or the model does not work.
    """
    family = registry.family_of(model)
    family.check_libraries(model)
    release = family.release(model)
    if release.weights:
        _fetch_release(release, modelscope)
        for source, names in family.list_companions(release):
            for name in names:
                _fetch(source, name, modelscope)
    return embed.load(model)


def _load_if_here(model: str) -> Embedder | None:
    """Returns a model that is on this machine already; None if it is missing or incomplete."""
    try:
        return embed.load(model)
    except ModelError:
        return None


def expand_profiles(names: Sequence[str]) -> Iterator[str]:
    """Yields models; a profile stands for all of its models."""
    for name in names:
        if name in PROFILES or "=" in name:
            yield from (spec.model for spec in spaces_of(name))
        else:
            yield name


def _fetch_release(release: Release, modelscope: str) -> None:
    source = release.source
    if source.is_local:  # loading reports what is missing in a folder
        return
    for name in release.files:
        if not _fetch(source, name, modelscope):
            raise ModelError(f"{release.model}: {source.repository} has no {name}, it is not a model of this kind")
    if not any(_fetch(source, name, modelscope) for name in release.weights):
        raise ModelError(f"{release.model}: {source.repository} has none of {', '.join(release.weights)}")


def _fetch(source: ModelSource, name: str, modelscope: str) -> bool:
    """Puts a file where `ModelSource.find` looks for it; returns False if the repository has no file of this name."""
    if source.is_local:
        return source.has(name)
    return _fetch_from_modelscope(source, name, modelscope) if source.folder else _fetch_from_hub(source, name)


def _fetch_from_modelscope(source: ModelSource, name: str, endpoint: str) -> bool:
    registry.require(source.model, ("modelscope_hub",), "pip install 'xcomp[modelscope]'")
    from huggingface_hub import constants
    from modelscope_hub import HubApi
    from modelscope_hub.errors import AuthenticationError, HubError, NotExistError, PermissionDeniedError

    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"cannot fetch {name} of {source.repository} from ModelScope: HF_HUB_OFFLINE is set; unset it")
    if not endpoint.startswith(("https://", "http://")):
        raise InvalidRequest(f"MODELSCOPE_ENDPOINT {endpoint!r} is no address: write it as {MODELSCOPE_ENDPOINT}")
    assert source.folder
    for library in ("modelscope_hub", "urllib3"):  # they report each attempt
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        files = _list_modelscope(source, endpoint)
        if name not in files:
            return False
        HubApi(endpoint=endpoint).download_file(
            source.repository,
            "model",
            name,
            revision=source.revision or None,
            local_dir=source.folder,
            expected_sha256=files[name].sha256,
            file_size=files[name].size,
        )
    except (NotExistError, AuthenticationError, PermissionDeniedError) as error:
        raise _not_readable(source, endpoint, "log in with: modelscope login") from error
    except (HubError, OSError) as error:
        raise ModelError(
            f"cannot fetch {name} of {source.repository} from {endpoint}: {_reason_of(error)};"
            f" MODELSCOPE_ENDPOINT names another address"
        ) from error
    lines = [f"{file.sha256}  {path}\n" for path, file in files.items() if (source.folder / path).is_file()]
    (source.folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
    return True


@cache
def _list_modelscope(source: ModelSource, endpoint: str) -> "dict[str, FileInfo]":
    from modelscope_hub import HubApi

    files = HubApi(endpoint=endpoint).list_repo_files(source.repository, "model", revision=source.revision or None)
    return {file.path: file for file in files if not file.is_dir}


def _fetch_from_hub(source: ModelSource, name: str) -> bool:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported for its errors

    try:
        hf_hub_download(source.repository, name, revision=source.revision or None, cache_dir=constants.HF_HUB_CACHE)
    except RemoteEntryNotFoundError:
        return False
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _not_readable(source, constants.ENDPOINT, "set HF_TOKEN") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise ModelError(
            f"cannot fetch {name} of {source.repository} from {constants.ENDPOINT}: {_reason_of(error)};"
            f" HF_ENDPOINT names a mirror, HF_HOME a folder with what was fetched elsewhere"
        ) from error
    return True


def _not_readable(source: ModelSource, endpoint: str, way_out: str) -> ModelError:
    revision = f" at {source.revision}" if source.revision else ""
    return ModelError(f"{endpoint} has no {source.repository}{revision} to read: check its name, or {way_out}")


def _reason_of(error: BaseException) -> str:
    """Returns the message of the innermost cause, which says what happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200]


if __name__ == "__main__":
    sys.exit(main())
