"""A CLIP model as an embedder: what the families share, whichever engine runs their networks.

This file handles precision, batches and long texts. A `ClipModel` turns images into pixels and texts into tokens; its
`Networks` turn both into features.
"""

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from xcomp_indexer.embed import selftest
from xcomp_indexer.embed.base import Encoded, Prepared, Vectors
from xcomp_indexer.embed.clip.windows import Ids, Windows
from xcomp_indexer.embed.vectors import normalize
from xcomp_protos.errors import ImageError, ModelError

log = logging.getLogger(__name__)

Config = Mapping[str, object]  # of a model, as its files say
Precision = Literal["fp32", "bf16"]

# What the libraries raise on files that are damaged or belong to another model.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


class Networks(Protocol):
    """The two networks of a model in one precision."""

    def image_features(self, pixels: Sequence[Prepared]) -> Vectors:
        """Returns `[B, D]` of any length."""

    def text_features(self, input_ids: Ids) -> Vectors:
        """Returns `[W, D]` of any length."""


class ClipModel(Protocol):
    """A loaded CLIP model with its preprocessing."""

    name: str
    digest: str
    dimension: int
    image_size: int
    languages: frozenset[str]
    device: str  # the engine, and where it computes
    has_fast_bf16: bool
    batch_size: int  # images that fill the device in one forward pass
    images_at_once: int  # images of one call of the image network
    texts_at_once: int

    def pixels(self, image: Image.Image) -> Prepared:
        """Returns an upright RGB image as the image network reads it."""

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts; may be called from several threads."""

    def compile(self, precision: Precision) -> Networks:
        """Returns the networks, ready to run."""


class ClipEmbedder:
    """A CLIP model in memory.

    Args:
        model: a loaded model.
        precision: `auto` is bf16 where the device is fast at it and the vectors stay alike, and fp32 elsewhere.

    Raises:
        ModelError: the model cannot run.
    """

    def __init__(self, model: ClipModel, *, precision: Literal["auto", "fp32", "bf16"] = "auto") -> None:
        self._model = model
        self.name, self.digest, self.dimension = model.name, model.digest, model.dimension
        self.image_size, self.languages, self.batch_size = model.image_size, model.languages, model.batch_size
        with loading(self.name):
            self._networks, chosen = self._compile(precision)
        self.runs_on = f"{model.device} {chosen}"

    def prepare(self, image: Image.Image) -> Prepared:
        """Returns the pixels of an upright RGB image as the model takes them.

        Raises:
            ImageError: the preprocessing fails, for example on an image one pixel wide.
        """
        try:
            return self._model.pixels(image)
        except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
            size = f"{image.width}x{image.height}"
            raise ImageError(f"{self.name} takes no image of {size} pixels: {error}", reason="unsupported") from None

    def encode_batch(self, prepared: Sequence[Prepared]) -> Encoded:
        """Embeds prepared images; row i belongs to image i."""
        return Encoded(self._embed_pixels(self._networks, prepared))

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images; row i belongs to image i."""
        vectors = [np.empty((0, self.dimension), np.float32)]
        for start in range(0, len(images), self.batch_size):  # pixels need more memory than images
            some = [self.prepare(image) for image in images[start : start + self.batch_size]]
            vectors.append(self._embed_pixels(self._networks, some))
        return Encoded(np.concatenate(vectors))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts; a long text is the mean of its windows, weighted by their tokens."""
        return self._embed_texts(self._networks, texts)

    def _embed_pixels(self, networks: Networks, pixels: Sequence[Prepared]) -> Vectors:
        vectors = [np.empty((0, self.dimension), np.float32)]
        for start in range(0, len(pixels), self._model.images_at_once):
            some = pixels[start : start + self._model.images_at_once]
            vectors.append(self._normalize(networks.image_features(some)))
        return np.concatenate(vectors)

    def _embed_texts(self, networks: Networks, texts: Sequence[str]) -> Vectors:
        sums = np.zeros((len(texts), self.dimension), np.float32)
        if not texts:
            return sums
        # No tokenizer takes lone surrogates.
        windows = self._model.windows([text.encode("utf-8", "replace").decode("utf-8") for text in texts])
        vectors = []
        for start in range(0, len(windows.input_ids), self._model.texts_at_once):
            some = windows.input_ids[start : start + self._model.texts_at_once]
            vectors.append(self._normalize(networks.text_features(some)))
        weights = np.array(windows.weights, np.float32)
        np.add.at(sums, np.array(windows.owners), np.concatenate(vectors) * weights[:, None])
        return normalize(sums)

    def _normalize(self, features: Vectors) -> Vectors:
        if features.shape[-1] != self.dimension:
            raise ModelError(
                f"{self.name} is unusable: its configuration says {self.dimension} wide, its vectors are"
                f" {features.shape[-1]} wide"
            )
        return normalize(features)

    def _compile(self, precision: str) -> tuple[Networks, Precision]:
        """Compiles the networks in bf16 if it is wanted and changes the vectors of this model only a little."""
        exact = self._model.compile("fp32")
        if precision == "fp32" or (precision == "auto" and not self._model.has_fast_bf16):
            return exact, "fp32"
        rough = self._model.compile("bf16")
        cosine = float((self._embed_samples(exact) * self._embed_samples(rough)).sum(axis=-1).min())
        if cosine >= selftest.LIKE_FP32:
            return rough, "bf16"
        log.warning("event=kept_fp32 model=%s cosine_of_bf16=%.5f", self.name, cosine)
        return exact, "fp32"

    def _embed_samples(self, networks: Networks) -> Vectors:
        pixels = [self._model.pixels(image) for image in selftest.sample_images()]
        return np.concatenate([self._embed_pixels(networks, pixels), self._embed_texts(networks, selftest.TEXTS)])


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Turns what the libraries raise on bad files into an error of one line."""
    try:
        yield
    except _DAMAGE as error:
        brief = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{model} cannot be loaded, its files are damaged or of another model: {brief}") from error
