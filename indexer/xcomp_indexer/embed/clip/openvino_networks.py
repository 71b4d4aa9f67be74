"""The networks of a CLIP model through OpenVINO: one compiled graph for images and one for texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed.base import Prepared, Vectors
from xcomp_indexer.embed.clip.embedder import Precision
from xcomp_indexer.embed.clip.windows import Ids
from xcomp_indexer.embed.engine.openvino import CompiledNetwork, Graph

BATCH_SIZE = 16
# A larger batch is no faster and needs more memory.
IMAGES_AT_ONCE = 8

TextInputs = Callable[[Ids], Sequence[NDArray[np.generic]]]


@dataclass(frozen=True)
class Graphs:
    """Both graphs of a model, and how token ids become the inputs of the one for texts."""

    image: Graph
    text: Graph
    text_inputs: TextInputs


class OpenVinoNetworks:
    """Both networks in one precision. A batch has all cores: single inferences of two streams would have half each."""

    def __init__(self, graphs: Graphs, precision: Precision) -> None:
        self._image = CompiledNetwork(graphs.image, precision=precision)
        self._text = CompiledNetwork(graphs.text, precision=precision)
        self._text_inputs = graphs.text_inputs

    def image_features(self, pixels: Sequence[Prepared]) -> Vectors:
        """Returns `[B, D]` of any length, for u8 pixels `[S, S, 3]` of each image."""
        return self._image(np.stack(cast("Sequence[NDArray[np.uint8]]", pixels)))[0]

    def text_features(self, input_ids: Ids) -> Vectors:
        """Returns `[W, D]` of any length."""
        return self._text(*self._text_inputs(input_ids))[0]


def mark_ends(input_ids: Ids) -> Sequence[NDArray[np.generic]]:
    """Returns the ids up to the longest text, and the place of each end mark, the largest id."""
    ends = input_ids.argmax(axis=1)
    return input_ids[:, : int(ends.max()) + 1].astype(np.int32), ends.astype(np.int64)


def mask_padding(input_ids: Ids) -> Sequence[NDArray[np.generic]]:
    """Returns the ids, and a mask that is 0 for padding, whose id is 0."""
    return input_ids.astype(np.int32), (input_ids != 0).astype(np.float32)
