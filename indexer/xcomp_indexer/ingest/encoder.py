"""Embeds images in the spaces of a repository: one preparation and one forward pass for each space.

Does not depend on files or the store. Models are loaded when the first image comes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer.embed.base import ClassLabel, Embedder, Prepared

_BATCH_SIZE = 16  # until a model is loaded and says what fills its device


@dataclass(frozen=True)
class EncodedImage:
    """The vectors and labels of one image."""

    vectors: Mapping[str, NDArray[np.float32]]  # [D] each
    size: tuple[int, int]
    labels: Sequence[ClassLabel] = field(default=())


class SpaceEncoder:
    """The embedders of some spaces; `seconds` measures the forward passes of each."""

    def __init__(self, spaces: Sequence[str], embedder: Callable[[str], Embedder]) -> None:
        """Args:
        spaces: their names.
        embedder: returns the embedder of a space; called each time, so that a model in use does not count as idle.
        """
        self._spaces = spaces
        self._embedder = embedder
        self.batch_size = _BATCH_SIZE
        self.seconds = dict.fromkeys(spaces, 0.0)

    def prepare(self, image: Image.Image) -> dict[str, Prepared]:
        """Preprocesses an upright RGB image for each model; may run in several threads."""
        embedders = {space: self._embedder(space) for space in self._spaces}
        self.batch_size = max(embedder.batch_size for embedder in embedders.values())
        return {space: embedder.prepare(image) for space, embedder in embedders.items()}

    def encode(
        self, prepared: Sequence[Mapping[str, Prepared]], sizes: Sequence[tuple[int, int]]
    ) -> list[EncodedImage]:
        """Embeds prepared images in every space."""
        vectors: dict[str, NDArray[np.float32]] = {}
        labels: Sequence[Sequence[ClassLabel]] = ()
        for space in self._spaces:
            begun = time.monotonic()
            encoded = self._embedder(space).encode_batch([image[space] for image in prepared])
            self.seconds[space] += time.monotonic() - begun
            vectors[space] = encoded.vectors
            labels = encoded.labels or labels
        return [
            EncodedImage({space: rows[row] for space, rows in vectors.items()}, size, labels[row] if labels else ())
            for row, size in enumerate(sizes)
        ]
