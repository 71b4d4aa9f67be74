"""`python -m xcomp_indexer.admin.pull_models MODEL…`: fetches models; the only place that asks a network.

HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE are honoured by the hub's own client, the latter two for ModelScope as well.
What was fetched is loaded once, so that a model that was pulled is one that works.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from xcomp_indexer import embed
from xcomp_indexer.admin.modelscope import ENDPOINT, ModelScope
from xcomp_indexer.embed import Embedder
from xcomp_indexer.embed.weights import cache, sources
from xcomp_indexer.embed.weights.cache import ModelSource
from xcomp_indexer.embed.weights.sources import Release
from xcomp_indexer.repository.profiles import PROFILES, spaces_of
from xcomp_protos.errors import ModelError, run_main
from xcomp_protos.server import options


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetches the models named; returns the exit status."""
    parser = argparse.ArgumentParser("xcomp models pull", description="Fetches models from a hub and tries them.")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="a model, or a profile for all of its models")
    parser.add_argument("--keep", action="store_true", help="ask no network for models that are here and work")
    options.add_option(parser, "--modelscope", "MODELSCOPE_ENDPOINT", default=ENDPOINT, help="where ModelScope is")
    given = parser.parse_args(arguments)
    return run_main(lambda: _pull_all(given))


def _pull_all(given: argparse.Namespace) -> None:
    options.check_hub()
    modelscope = ModelScope(given.modelscope)
    for model in named(given.models):
        embedder = (_kept(model) if given.keep else None) or pull(model, modelscope)
        print(f"{embedder.name}  sha256 {embedder.digest[:12]}  {embedder.dimension} wide", flush=True)  # noqa: T201  # its result


def pull(model: str, modelscope: ModelScope) -> Embedder:
    """Fetches a model's files, unless they are here already, and loads it.

    Raises:
        InvalidRequest: the name is none.
        ModelError: its hub cannot be reached or has no such files, or the model does not work.
    """
    family = model.partition(":")[0]
    if family == "open_clip":
        cache.require(model, embed.OPEN_CLIP_LIBRARIES)
        release = sources.open_clip(model)
        _fetch(release, modelscope)
        from xcomp_indexer.embed import openclip

        for place, names in openclip.companions(release):
            for name in names:
                _fetched(place, name, modelscope)
    elif family == "chinese_clip":
        cache.require(model, embed.CHINESE_CLIP_LIBRARIES)
        _fetch(sources.chinese_clip(model), modelscope)
    return embed.load(model)


def _kept(model: str) -> Embedder | None:
    """Returns a model that is here already; None if it is not, or not whole."""
    try:
        return embed.load(model)
    except ModelError:
        return None


def named(names: Sequence[str]) -> Iterator[str]:
    """Yields models; a profile stands for all of its own."""
    for name in names:
        if name in PROFILES or "=" in name:
            yield from (spec.model for spec in spaces_of(name))
        else:
            yield name


def _fetch(release: Release, modelscope: ModelScope) -> None:
    place = release.place
    if place.folder is not None:  # nothing to fetch; what it lacks is told when it is loaded
        return
    for name in release.files:
        if not _fetched(place, name, modelscope):
            raise ModelError(f"{release.model}: {place.repository} has no {name}, it is no model of this kind")
    if not any(_fetched(place, name, modelscope) for name in release.weights):
        raise ModelError(f"{release.model}: {place.repository} has none of {', '.join(release.weights)}")


def _fetched(place: ModelSource, name: str, modelscope: ModelScope) -> bool:
    """Brings a file into the cache; false if the repository has none of this name."""
    if place.folder is not None:
        return place.has(name)
    if not place.on_modelscope:
        return _fetched_from_hub(place, name)
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"cannot fetch {name} of {place.repository} from ModelScope: HF_HUB_OFFLINE is set; unset it")
    return modelscope.fetch(place, name)


def _fetched_from_hub(place: ModelSource, name: str) -> bool:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # kept for those who must tell its errors

    try:
        hf_hub_download(place.repository, name, revision=place.revision or None, cache_dir=constants.HF_HUB_CACHE)
    except RemoteEntryNotFoundError:
        return False
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        revision = f" at {place.revision}" if place.revision else ""
        raise ModelError(
            f"{constants.ENDPOINT} has no {place.repository}{revision} to read: check its name, or set HF_TOKEN"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise ModelError(
            f"cannot fetch {name} of {place.repository} from {constants.ENDPOINT}: {_reason(error)};"
            f" HF_ENDPOINT names a mirror, HF_HOME a folder with what was fetched elsewhere"
        ) from error
    return True


def _reason(error: BaseException) -> str:
    """The innermost cause says what happened, those around it what the client would have liked."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200]


if __name__ == "__main__":
    sys.exit(main())
