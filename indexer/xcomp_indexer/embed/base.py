"""The interface of the embedding models: images and texts to unit vectors of one space.

An embedder knows images and texts. It does not depend on files, on a store or on gRPC.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Vectors = NDArray[np.float32]  # [B, D], rows of unit length
Prepared = object  # a preprocessed image; only the embedder that prepared it can read it


@dataclass(frozen=True)
class ClassLabel:
    """A class that a model recognised in an image."""

    en: str
    zh: str
    probability: float


@dataclass(frozen=True)
class Encoded:
    """A batch of images in a space.

    `labels` holds the most probable classes of each image, best first. It is empty for models that know no classes.
    """

    vectors: Vectors
    labels: Sequence[Sequence[ClassLabel]] = field(default=())


class Embedder(Protocol):
    """An embedding model in memory. Several threads may call it at once."""

    @property
    def name(self) -> str:
        """The resolved id, as the repository records it."""

    @property
    def digest(self) -> str:
        """sha256 hex over everything that shapes a vector: weights, vocabularies, tables."""

    @property
    def dimension(self) -> int:
        """D, the width of the vectors."""

    @property
    def image_size(self) -> int:
        """Pixels of the longest side that the preprocessing reads; a decoder keeps a multiple of them."""

    @property
    def languages(self) -> frozenset[str]:
        """Languages of the texts that the model understands: `en`, `zh`."""

    @property
    def runs_on(self) -> str:
        """The engine, its device and the precision of its networks, such as `openvino cpu fp32`."""

    @property
    def batch_size(self) -> int:
        """Images that fill the device in one forward pass; a larger batch is not faster."""

    def prepare(self, image: Image.Image) -> Prepared:
        """Preprocesses an upright RGB image without the device; may run in threads, ahead of the forward pass."""

    def encode_batch(self, prepared: Sequence[Prepared]) -> Encoded:
        """Embeds prepared images; row i belongs to image i."""

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Prepares and embeds upright RGB images; row i belongs to image i."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts of any length and language; row i belongs to text i."""
