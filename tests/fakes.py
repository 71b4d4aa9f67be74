"""Small stand-ins that obey the protocols."""

import threading
from collections.abc import Sequence

import numpy as np
from PIL import Image

from xcomp_indexer.embed.base import Encoded, Prepared, Vectors
from xcomp_indexer.embed.color import ColorEmbedder


class CountingEmbedder:
    """Sees colours like the profile `color`, counts what it is asked, and holds still where it is told to."""

    def __init__(self) -> None:
        self._eye = ColorEmbedder()
        self.name, self.digest = self._eye.name, self._eye.digest
        self.dimension, self.image_size = self._eye.dimension, self._eye.image_size
        self.languages, self.batch_size, self.runs_on = self._eye.languages, self._eye.batch_size, self._eye.runs_on
        self.images = 0  # images embedded
        self.open = threading.Event()  # while it is not set, embedding images waits
        self.open.set()
        self.waiting = threading.Event()  # set once somebody waits

    def prepare(self, image: Image.Image) -> Prepared:
        return self._eye.prepare(image)

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        return self.encode_batch([self.prepare(image) for image in images])

    def encode_batch(self, pictures: Sequence[Prepared]) -> Encoded:
        if not self.open.is_set():
            self.waiting.set()
            self.open.wait(timeout=60)
        self.images += len(pictures)
        return self._eye.encode_batch(pictures)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._eye.encode_texts(texts)


class OtherEmbedder(CountingEmbedder):
    """Another model over the same colours: other vectors, one more dimension, English alone."""

    def __init__(self, *, languages: frozenset[str] = frozenset({"en"})) -> None:
        super().__init__()
        self.name, self.digest = "other:colors", "07" * 32
        self.dimension += 1
        self.languages = languages
        self.texts: list[str] = []

    def encode_batch(self, pictures: Sequence[Prepared]) -> Encoded:
        return Encoded(_turned(super().encode_batch(pictures).vectors))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return _turned(super().encode_texts(texts))


def _turned(vectors: Vectors) -> Vectors:
    return np.pad(vectors[:, ::-1], ((0, 0), (0, 1)))
