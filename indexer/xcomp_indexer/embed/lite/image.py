"""EfficientNet-lite: images to probabilities of the ImageNet-1k classes.

The whole image is read, not a crop, and every position of the last feature map is classified as well, because photos
show several things. Does not depend on the names of the classes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer.embed.engine.cpus import count_usable_cores
from xcomp_indexer.embed.engine.openvino import CompiledNetwork, Precision
from xcomp_indexer.embed.lite import efficientnet_graph
from xcomp_indexer.embed.weights.state import read_weights
from xcomp_indexer.images.decode import full_size

Probabilities = NDArray[np.float32]  # [2, 1000]

# Repeats and stride of the seven stages (arXiv:1905.11946, table 1); lite keeps the first and last at one block.
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
# Longest side, in short sides. A longer panorama is scaled down further, not cropped.
_MAX_ASPECT = 3
# With fewer pixels the feature map is empty.
_MIN_PIXELS = 32


@dataclass(frozen=True)
class Variant:
    """A member of the family: depth multiplier, and pixels of the short side of its input."""

    depth: float
    size: int

    def strides(self) -> Iterator[int]:
        """Yields the stride of every block."""
        for stage, (repeats, stride) in enumerate(_STAGES):
            fixed = stage in (0, len(_STAGES) - 1)
            count = repeats if fixed else math.ceil(self.depth * repeats)
            yield from (stride, *[1] * (count - 1))


LITE0 = Variant(depth=1.0, size=224)
LITE2 = Variant(depth=1.2, size=260)


class Classifier:
    """An EfficientNet-lite in memory.

    Args:
        weights: a saved state dict.
        variant: the member of the family.
        precision: of the computation.
    """

    def __init__(self, weights: Path, variant: Variant, *, precision: Precision = "fp32") -> None:
        graph = efficientnet_graph.build(read_weights(weights), variant.strides())
        self._network = CompiledNetwork(graph, precision=precision, streams=count_usable_cores())
        self._size = variant.size

    def classify(self, image: Image.Image) -> Probabilities:
        """Returns class probabilities of an RGB image, `[2, 1000]`: of the whole image, and over its positions.

        Those of the positions are combined as a root mean square, so that a class in a few positions still counts.
        Takes one image: sizes differ, and on a CPU a batch is not faster.
        """
        return self._network(np.array(self._scale(image))[None])[0]

    def _scale(self, image: Image.Image) -> Image.Image:
        # Uses the size before decoding scaled it down: the padding depends on whether a side is even.
        full = full_size(image)
        scale = min(self._size / min(full), _MAX_ASPECT * self._size / max(full))
        width, height = (max(_MIN_PIXELS, round(side * scale)) for side in full)
        return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
