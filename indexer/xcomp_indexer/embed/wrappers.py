"""Templates of a space: what a text is put into before a model embeds it, as in "a photo of a {}".

Several make an ensemble: the mean of their vectors, brought back to unit length (arXiv:2103.00020, section 3.1.4). A
text is put in as it is; what looks like a template in it stays text.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from xcomp_indexer.embed import Embedder, Encoded, Prepared, Vectors
from xcomp_indexer.embed.weights import cache
from xcomp_protos.errors import InvalidRequest
from xcomp_protos.telemetry import api

PLACE = "{}"
MOST = 16  # each costs a forward pass for every query
_LONGEST = 500  # characters


def templated(embedder: Embedder, templates: Sequence[str]) -> Embedder:
    """Returns an embedder that puts every text into the templates; the same one where there are none."""
    return TemplatedEmbedder(embedder, templates) if templates else embedder


def check(templates: Sequence[str]) -> None:
    """Raises `InvalidRequest` unless each template has one place for a text."""
    if len(templates) > MOST:
        raise InvalidRequest(f"templates: {len(templates)} are too many, a space takes up to {MOST}")
    for template in templates:
        if template.count(PLACE) != 1 or len(template) > _LONGEST:
            raise InvalidRequest(f"templates: {template[:80]!r} needs one {PLACE}, where the text goes")


class TemplatedEmbedder:
    """An embedder whose texts are put into templates; pictures go through as they are."""

    def __init__(self, embedder: Embedder, templates: Sequence[str]) -> None:
        self._embedder, self._templates = embedder, tuple(templates)
        self.name = embedder.name
        self.digest = cache.combined([embedder.digest, *templates])  # other vectors of texts
        self.dimension = embedder.dimension
        self.image_size = embedder.image_size
        self.languages, self.batch_size = embedder.languages, embedder.batch_size
        self.prepare, self.encode_prepared = embedder.prepare, embedder.encode_prepared

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images; row i belongs to image i."""
        return self._embedder.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts; row i belongs to text i."""
        filled = [template.replace(PLACE, text) for template in self._templates for text in texts]
        vectors = self._embedder.encode_texts(filled)
        mean = vectors.reshape(len(self._templates), len(texts), self.dimension).mean(axis=0)
        return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12), dtype=np.float32)


class InstrumentedEmbedder:
    """Does what `embedder` does, as a stage of the work."""

    def __init__(self, embedder: Embedder, stage: str) -> None:
        self._embedder = embedder
        self._stage = stage
        self.name, self.digest = embedder.name, embedder.digest
        self.dimension, self.image_size = embedder.dimension, embedder.image_size
        self.languages, self.batch_size = embedder.languages, embedder.batch_size
        self.prepare = embedder.prepare

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Encoded:
        """Embeds prepared pictures; row i belongs to picture i."""
        api.observe("batch_size", len(pictures), "images")
        with api.stage(self._stage):
            return self._embedder.encode_prepared(pictures)

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images; row i belongs to image i."""
        api.observe("batch_size", len(images), "images")
        with api.stage(self._stage):
            return self._embedder.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts; row i belongs to text i."""
        api.observe("batch_size", len(texts), "texts")
        with api.stage(self._stage):
            return self._embedder.encode_texts(texts)
