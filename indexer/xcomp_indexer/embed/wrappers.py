"""Embedders around embedders: one fills texts into the templates of a space, one measures.

A template is a text such as "a photo of a {}". Several make an ensemble: the mean of their vectors, normalised to unit
length (arXiv:2103.00020, section 3.1.4). Braces within a text are not a template.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from xcomp_indexer.embed.base import Embedder, Encoded, Prepared, Vectors
from xcomp_indexer.embed.weights import cache
from xcomp_protos.errors import InvalidRequest
from xcomp_protos.telemetry import api

SLOT = "{}"
MAX_TEMPLATES = 16  # each costs a forward pass per query
_MAX_CHARACTERS = 500


def with_templates(embedder: Embedder, templates: Sequence[str]) -> Embedder:
    """Returns an embedder that fills every text into the templates; without templates, the same embedder."""
    return TemplatedEmbedder(embedder, templates) if templates else embedder


def check_templates(templates: Sequence[str]) -> None:
    """Raises `InvalidRequest` unless each template has one slot for a text."""
    if len(templates) > MAX_TEMPLATES:
        raise InvalidRequest(f"templates: {len(templates)} are too many, a space takes up to {MAX_TEMPLATES}")
    for template in templates:
        if template.count(SLOT) != 1 or len(template) > _MAX_CHARACTERS:
            raise InvalidRequest(f"templates: {template[:80]!r} needs one {SLOT} for the text")


class TemplatedEmbedder:
    """An embedder that fills texts into templates; images are not changed."""

    def __init__(self, embedder: Embedder, templates: Sequence[str]) -> None:
        self._embedder, self._templates = embedder, tuple(templates)
        self.name = embedder.name
        self.digest = cache.combine([embedder.digest, *templates])  # templates change the vectors of texts
        self.dimension = embedder.dimension
        self.image_size = embedder.image_size
        self.languages, self.batch_size = embedder.languages, embedder.batch_size
        self.runs_on = embedder.runs_on
        self.prepare, self.encode_batch = embedder.prepare, embedder.encode_batch

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images; row i belongs to image i."""
        return self._embedder.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts; row i belongs to text i."""
        filled = [template.replace(SLOT, text) for template in self._templates for text in texts]
        vectors = self._embedder.encode_texts(filled)
        mean = vectors.reshape(len(self._templates), len(texts), self.dimension).mean(axis=0)
        return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12), dtype=np.float32)


class InstrumentedEmbedder:
    """Does what `embedder` does, and measures it as a stage."""

    def __init__(self, embedder: Embedder, stage: str) -> None:
        self._embedder = embedder
        self._stage = stage
        self.name, self.digest = embedder.name, embedder.digest
        self.dimension, self.image_size = embedder.dimension, embedder.image_size
        self.languages, self.batch_size = embedder.languages, embedder.batch_size
        self.prepare, self.runs_on = embedder.prepare, embedder.runs_on

    def encode_batch(self, prepared: Sequence[Prepared]) -> Encoded:
        """Embeds prepared images; row i belongs to image i."""
        api.observe("batch_size", len(prepared), "images")
        with api.stage(self._stage):
            return self._embedder.encode_batch(prepared)

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
