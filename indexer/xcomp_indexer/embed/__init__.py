"""The seam of the embedding models: images and texts to unit vectors of one space.

Adapters live beside this file, one per family, and are imported only when a model of theirs is asked for. An adapter
knows pictures and texts; it knows no files, no store and no gRPC.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_protos.errors import InvalidRequest, ModelError

# Import names that the families need.
OPEN_CLIP_LIBRARIES = ("huggingface_hub", "torch", "torchvision", "open_clip")
CHINESE_CLIP_LIBRARIES = ("huggingface_hub", "torch", "tokenizers", "transformers")

Vectors = NDArray[np.float32]  # [B, D], rows of unit length
Prepared = object  # a picture as its own embedder takes it, and nobody else


@dataclass(frozen=True)
class ClassLabel:
    """A class that a model saw in a picture."""

    en: str
    zh: str
    probability: float


@dataclass(frozen=True)
class Encoded:
    """A batch of images in a space.

    `labels` holds the most probable classes of each image, best first, and is empty for models that know no classes.
    """

    vectors: Vectors
    labels: Sequence[Sequence[ClassLabel]] = field(default=())


class Embedder(Protocol):
    """An embedding model in memory. Calls may come from several threads at once."""

    @property
    def name(self) -> str:
        """The resolved id, as the repository records it."""

    @property
    def digest(self) -> str:
        """sha256 hex over everything that shapes a vector: weights, vocabularies, tables."""

    @property
    def dimension(self) -> int:
        """D, the width of its vectors."""

    @property
    def image_size(self) -> int:
        """Pixels of the longest side that its preprocessing reads; a decoder keeps a multiple of them."""

    @property
    def languages(self) -> frozenset[str]:
        """Languages of the texts it understands: `en`, `zh`."""

    @property
    def batch_size(self) -> int:
        """Pictures that fill its device in one forward pass; more at once gain nothing."""

    def prepare(self, image: Image.Image) -> Prepared:
        """Does to an upright RGB picture what needs no device; may run in threads, ahead of the forward pass."""

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Encoded:
        """Embeds prepared pictures; row i belongs to picture i."""

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Prepares and embeds upright RGB images; row i belongs to image i."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts of any length and language; row i belongs to text i."""


def _open_clip(model: str) -> Embedder:
    from xcomp_indexer.embed.weights import cache, sources

    cache.require(model, OPEN_CLIP_LIBRARIES)
    release = sources.open_clip(model)
    release.find()  # before the library, which takes seconds to import
    from xcomp_indexer.embed import openclip

    return openclip.load(release)


def _chinese_clip(model: str) -> Embedder:
    from xcomp_indexer.embed.weights import cache, sources

    cache.require(model, CHINESE_CLIP_LIBRARIES)
    release = sources.chinese_clip(model)
    release.find()
    from xcomp_indexer.embed import chinese_clip

    return chinese_clip.load(release)


def _lite(_: str) -> Embedder:
    from xcomp_indexer.embed.lite import LiteEmbedder

    return LiteEmbedder()


def _color(_: str) -> Embedder:
    from xcomp_indexer.embed.color import ColorEmbedder

    return ColorEmbedder()


_FAMILIES: dict[str, Callable[[str], Embedder]] = {
    "lite": _lite,
    "color": _color,
    "open_clip": _open_clip,
    "chinese_clip": _chinese_clip,
}


def load(model: str) -> Embedder:
    """Loads the model that `family:name` names, and tests it; only that family's libraries are imported.

    Raises:
        InvalidRequest: no such family.
        ModelError: its weights or its libraries are missing, a digest is wrong, or its vectors are; the message names
            the way out.
    """
    from xcomp_indexer.embed import selftest  # it needs this file

    family = model.partition(":")[0]
    if family not in _FAMILIES:
        raise InvalidRequest(f"unknown embedder {model!r}: use one of {', '.join(sorted(_FAMILIES))}")
    try:
        embedder = _FAMILIES[family](model)
    except ImportError as error:
        raise ModelError(
            f"{model} needs {error.name or error}: install it with pip install 'xcomp[indexer]'"
        ) from error
    selftest.check(embedder)
    return embedder
