"""What the embedders of a repository make of pictures: one preparation and one forward pass for each space.

It knows pictures and vectors; it knows no files and no store. No model is loaded before there is a picture to see.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer.embed.base import ClassLabel, Embedder, Prepared

FEW = 16  # pictures for a forward pass, as long as no model says what fills its device


@dataclass(frozen=True)
class EncodedImage:
    """What the embedders made of one content."""

    vectors: Mapping[str, NDArray[np.float32]]  # [D] each
    size: tuple[int, int]
    labels: Sequence[ClassLabel] = field(default=())


class SpaceEncoder:
    """The embedders of some spaces; `seconds` counts the forward passes of each."""

    def __init__(self, spaces: Sequence[str], embedder: Callable[[str], Embedder]) -> None:
        """Args:
        spaces: their names.
        embedder: returns the embedder of a space; asked each time, so that a model in use does not count as idle.
        """
        self._spaces = spaces
        self._embedder = embedder
        self.batch_size = FEW
        self.seconds = dict.fromkeys(spaces, 0.0)

    def prepare(self, image: Image.Image) -> dict[str, Prepared]:
        """Turns an upright RGB picture into what each model takes; may run in several threads."""
        embedders = {space: self._embedder(space) for space in self._spaces}
        self.batch_size = max(embedder.batch_size for embedder in embedders.values())
        return {space: embedder.prepare(image) for space, embedder in embedders.items()}

    def see(self, pictures: Sequence[Mapping[str, Prepared]], sizes: Sequence[tuple[int, int]]) -> list[EncodedImage]:
        """Embeds prepared pictures in every space."""
        vectors: dict[str, NDArray[np.float32]] = {}
        labels: Sequence[Sequence[ClassLabel]] = ()
        for space in self._spaces:
            begun = time.monotonic()
            encoded = self._embedder(space).encode_batch([picture[space] for picture in pictures])
            self.seconds[space] += time.monotonic() - begun
            vectors[space] = encoded.vectors
            labels = encoded.labels or labels
        return [
            EncodedImage({space: rows[at] for space, rows in vectors.items()}, size, labels[at] if labels else ())
            for at, size in enumerate(sizes)
        ]
