"""The embedder of profile `lite`: classifiers and a sentence model, combined without further training.

The vector of an image is the mean of the sentences of its likely classes (ConSE: Norouzi et al., arXiv:1312.5650) and
of the names of its colours. The vector of an English text is its sentence vector; a Chinese text is translated with a
dictionary first. Both are centred on the mean of all classes. The files come from installed packages.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from xcomp_indexer.embed.base import ClassLabel, Encoded, Prepared, Vectors
from xcomp_indexer.embed.lite import colors, weights
from xcomp_indexer.embed.lite.classes import digest_vectors, load_classes, load_vectors
from xcomp_indexer.embed.lite.dictionary import Dictionary
from xcomp_indexer.embed.lite.image import LITE0, LITE2, Classifier
from xcomp_indexer.embed.lite.text import SentenceEncoder
from xcomp_indexer.embed.weights.sources import Release

# Increased by every change of the algorithm that changes vectors; part of the digest.
_REVISION = "2"
_NETWORKS = ((weights.EFFICIENTNET_LITE0, LITE0), (weights.EFFICIENTNET_LITE2, LITE2))
_FILES = (*(file for file, _ in _NETWORKS), weights.MINILM, weights.MINILM_TOKENIZER, weights.CEDICT)
# Classes that make up a vector, and classes that become labels.
_CONSE_CLASSES = 100
_LABELS = 5
# A power below 1 gives the less probable classes more weight.
_FLATNESS = 2 / 3
# Weight of the colours relative to the classes.
_COLOR_WEIGHT = 0.3


def load(_: Release) -> "LiteEmbedder":
    """Loads the embedder from the installed packages."""
    return LiteEmbedder()


class LiteEmbedder:
    """EfficientNet-lite0 and -lite2 and all-MiniLM-L6-v2 in memory.

    Args:
        folder: holds copies of the files; without it they come from installed packages.
    """

    name = "lite:minilm"
    image_size = max(variant.size for _, variant in _NETWORKS)
    languages = frozenset({"en", "zh"})
    batch_size = 16

    def __init__(self, folder: Path | None = None) -> None:
        files = {file: weights.read(file, folder) for file in _FILES}
        self._classifiers = [Classifier(files[file], variant) for file, variant in _NETWORKS]
        self._sentences = SentenceEncoder(files[weights.MINILM], files[weights.MINILM_TOKENIZER])
        self._classes = load_classes()
        self._dictionary = Dictionary(files[weights.CEDICT], {each.zh: each.en for each in self._classes})
        self.digest = weights.digest([_REVISION, *(file.sha256 for file in _FILES), digest_vectors()])
        vectors = torch.from_numpy(load_vectors())
        self._center = vectors.mean(dim=0)
        self._class_vectors = vectors - self._center  # [1000, 384]
        names = self._sentences.encode([f"the color {name}" for name in colors.NAMES])
        self._color_vectors = functional.normalize(names - names.mean(dim=0), dim=-1)  # [11, 384]
        self.dimension = vectors.shape[1]
        # One thread per image is faster than many threads for one image: the layers are small, and the decoder needs
        # cores as well. The setting holds for the whole process.
        torch.set_num_threads(1)
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="lite")

    def prepare(self, image: Image.Image) -> Prepared:
        """Returns the image itself, because the forward pass has a thread for each image."""
        return image

    def encode_batch(self, prepared: Sequence[Prepared]) -> Encoded:
        """Embeds prepared images, with their most probable classes."""
        return self.encode_images(cast("Sequence[Image.Image]", prepared))

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images, with their most probable classes."""
        if not images:
            return Encoded(np.empty((0, self.dimension), np.float32), ())
        whole, positions = torch.stack(list(self._threads.map(self._classify, images)), dim=1)  # [B, 1000] each
        shares = torch.from_numpy(np.stack([colors.measure_shares(image) for image in images]))
        top = whole.topk(_LABELS)
        labels = [
            [self._label(*pair) for pair in zip(*row, strict=True)]
            for row in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
        return Encoded(self._mix(positions, shares), labels)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds English, Chinese or mixed texts of any length."""
        english = self._sentences.encode([self._dictionary.translate(text) for text in texts])
        return _normalize(english - self._center).numpy()

    def _classify(self, image: Image.Image) -> Tensor:
        return torch.stack([classifier.classify(image) for classifier in self._classifiers]).mean(dim=0)

    def _mix(self, probabilities: Tensor, shares: Tensor) -> Vectors:
        top = probabilities.topk(_CONSE_CLASSES)
        classes = (top.values.pow(_FLATNESS)[:, :, None] * self._class_vectors[top.indices]).sum(dim=1)
        return _normalize(_normalize(classes) + _COLOR_WEIGHT * _normalize(shares.sqrt() @ self._color_vectors)).numpy()

    def _label(self, index: int, probability: float) -> ClassLabel:
        return ClassLabel(en=self._classes[index].en, zh=self._classes[index].zh, probability=probability)


def _normalize(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1)
