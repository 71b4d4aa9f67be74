"""An embedder without weights: an image is its colours, a text the colours that it names.

With it every path of the indexer is tested without weights, and results make sense: 'red' finds red images. Colour
names are the basic terms of Berlin and Kay; hues are those of HSV.
"""

import hashlib
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer.embed.base import Encoded, Prepared, Vectors
from xcomp_indexer.embed.engine.execution import Execution
from xcomp_indexer.embed.weights.sources import Release

_HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
_GREYS = ("black", "grey", "white")
_NAMES = (*_HUES, *_GREYS, "other")  # "other" gives a text without colours a vector
_EDGES = (10, 22, 48, 110, 130, 180, 205, 245)  # upper bounds of the hues, 0..255; above the last the hue is red again
_CHINESE = dict(zip("红橙黄绿青蓝紫粉黑灰白", _NAMES[:-1], strict=True))
_SATURATED = 60  # below it a pixel counts as grey, 0..255
_DARK, _BRIGHT = 60, 190


class ColorEmbedder:
    """Histograms of colour names, [B, 12]."""

    name = "color:hsv"
    digest = hashlib.sha256(repr((_NAMES, _EDGES, _SATURATED, _DARK, _BRIGHT)).encode()).hexdigest()
    dimension = len(_NAMES)
    image_size = 64
    batch_size = 16
    languages = frozenset({"en", "zh"})
    runs_on = "numpy fp32"

    def prepare(self, image: Image.Image) -> Prepared:
        """Counts the colours of an upright RGB image."""
        return _count_colors(image)

    def encode_batch(self, prepared: Sequence[Prepared]) -> Encoded:
        """Embeds prepared images; row i belongs to image i."""
        return Encoded(np.stack([_normalize(cast("NDArray[np.float32]", histogram)) for histogram in prepared]))

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images; row i belongs to image i."""
        return self.encode_batch([self.prepare(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds the colour words of texts; row i belongs to text i."""
        return np.stack([_normalize(_count_names(text)) for text in texts])


def load(_: Release, __: Execution) -> ColorEmbedder:
    """Returns the embedder, which has no weights and runs on no engine."""
    return ColorEmbedder()


def _count_colors(image: Image.Image) -> NDArray[np.float32]:
    hsv = np.asarray(image.convert("HSV").resize((64, 64)), dtype=np.uint8).reshape(-1, 3)
    hue, saturation, value = hsv.T.astype(int)
    bins = np.searchsorted(_EDGES, hue, side="right") % len(_HUES)
    grey = np.digitize(value, (_DARK, _BRIGHT)) + len(_HUES)
    colourless = (saturation < _SATURATED) | (value < _DARK)
    return np.bincount(np.where(colourless, grey, bins), minlength=len(_NAMES)).astype(np.float32)


def _count_names(text: str) -> NDArray[np.float32]:
    lowered = text.lower()
    counts = [lowered.count(name) for name in _NAMES]
    for character, name in _CHINESE.items():
        counts[_NAMES.index(name)] += text.count(character)
    if not any(counts):
        counts[-1] = 1
    return np.asarray(counts, dtype=np.float32)


def _normalize(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.linalg.norm(vector)
