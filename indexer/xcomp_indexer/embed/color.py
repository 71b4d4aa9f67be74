"""A weightless embedder: a picture is its colours, a text the colours it names.

It makes every path of the indexer testable without weights, and is honest in its small field: 'red' finds red
pictures. Colour naming after Berlin and Kay's basic terms; hues as in HSV.
"""

import hashlib
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer.embed import Encoded, Prepared, Vectors

_HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
_GREYS = ("black", "grey", "white")
_NAMES = (*_HUES, *_GREYS, "other")  # "other" keeps a text without colours from being no vector at all
_EDGES = (10, 22, 48, 110, 130, 180, 205, 245)  # upper hue bounds, 0..255; above the last it is red again
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

    def prepare(self, image: Image.Image) -> Prepared:
        """Counts the colours of an upright RGB picture."""
        return _histogram(image)

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Encoded:
        """Embeds prepared pictures; row i belongs to picture i."""
        return Encoded(np.stack([_unit(cast("NDArray[np.float32]", picture)) for picture in pictures]))

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images; row i belongs to image i."""
        return self.encode_prepared([self.prepare(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds the colour words of texts; row i belongs to text i."""
        return np.stack([_unit(_named(text)) for text in texts])


def _histogram(image: Image.Image) -> NDArray[np.float32]:
    hsv = np.asarray(image.convert("HSV").resize((64, 64)), dtype=np.uint8).reshape(-1, 3)
    hue, saturation, value = hsv.T.astype(int)
    bins = np.searchsorted(_EDGES, hue, side="right") % len(_HUES)
    grey = np.digitize(value, (_DARK, _BRIGHT)) + len(_HUES)
    colourless = (saturation < _SATURATED) | (value < _DARK)
    return np.bincount(np.where(colourless, grey, bins), minlength=len(_NAMES)).astype(np.float32)


def _named(text: str) -> NDArray[np.float32]:
    lowered = text.lower()
    counts = [lowered.count(name) for name in _NAMES]
    for character, name in _CHINESE.items():
        counts[_NAMES.index(name)] += text.count(character)
    if not any(counts):
        counts[-1] = 1
    return np.asarray(counts, dtype=np.float32)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.linalg.norm(vector)
