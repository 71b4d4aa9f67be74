"""The embedder of profile `lite`: classifiers and a sentence model joined, without any training of ours.

A picture becomes the mean of its likely classes' sentences (ConSE: Norouzi et al., arXiv:1312.5650) and of its colours'
names; an English text its own sentence vector; a Chinese text goes through a dictionary first. Both sides are centred
on the mean of all classes, so that one vector serves both languages. Files come from registry packages; no network.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from xcomp_indexer.embed import ClassLabel, Encoded, Prepared, Vectors
from xcomp_indexer.embed.lite import colors, weights
from xcomp_indexer.embed.lite.classes import load_classes, load_vectors, vectors_digest
from xcomp_protos.errors import ModelError

try:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from xcomp_indexer.embed.lite.dictionary import Dictionary
    from xcomp_indexer.embed.lite.image import LITE0, LITE2, Classifier
    from xcomp_indexer.embed.lite.text import SentenceEncoder
except ImportError as error:
    raise ModelError(f"profile lite needs {error.name}: install it with {weights.INSTALL}") from error

# A change of the algorithm that moves vectors raises this; it is part of the digest.
_REVISION = "2"
_NETWORKS = ((weights.EFFICIENTNET_LITE0, LITE0), (weights.EFFICIENTNET_LITE2, LITE2))
_FILES = (*(file for file, _ in _NETWORKS), weights.MINILM, weights.MINILM_TOKENIZER, weights.CEDICT)
# Classes that shape a vector, and classes that are shown.
_CONSE_CLASSES = 100
_LABELS = 5
# A power below 1 lets the lesser things in a picture count, too.
_FLATNESS = 2 / 3
# How much the colours count beside the classes.
_COLOUR_WEIGHT = 0.3


class LiteEmbedder:
    """EfficientNet-lite0 and -lite2 and all-MiniLM-L6-v2 in memory.

    Args:
        folder: where files copied by hand lie; without it they come from the installed packages.
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
        self.digest = weights.digest([_REVISION, *(file.sha256 for file in _FILES), vectors_digest()])
        vectors = torch.from_numpy(load_vectors())
        self._centre = vectors.mean(dim=0)
        self._class_vectors = vectors - self._centre  # [1000, 384]
        names = self._sentences.encode([f"the color {name}" for name in colors.NAMES])
        self._colour_vectors = functional.normalize(names - names.mean(dim=0), dim=-1)  # [11, 384]
        self.dimension = vectors.shape[1]
        # One thread for each picture beats many threads for one: the layers are too small to share out, and the
        # decoder wants the cores, too. The setting holds for the whole process.
        torch.set_num_threads(1)
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="lite")

    def prepare(self, image: Image.Image) -> Prepared:
        """Leaves a picture as it is: the forward pass has a thread for each already."""
        return image

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Encoded:
        """Embeds prepared pictures, with their most probable classes."""
        return self.encode_images(cast("Sequence[Image.Image]", pictures))

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images, with their most probable classes."""
        if not images:
            return Encoded(np.empty((0, self.dimension), np.float32), ())
        whole, places = torch.stack(list(self._threads.map(self._classify, images)), dim=1)  # [B, 1000] each
        shares = torch.from_numpy(np.stack([colors.shares(image) for image in images]))
        top = whole.topk(_LABELS)
        labels = [
            [self._label(*pair) for pair in zip(*row, strict=True)]
            for row in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
        return Encoded(self._mix(places, shares), labels)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds English, Chinese or mixed texts of any length."""
        english = self._sentences.encode([self._dictionary.translate(text) for text in texts])
        return _unit(english - self._centre).numpy()

    def _classify(self, image: Image.Image) -> Tensor:
        return torch.stack([classifier.classify(image) for classifier in self._classifiers]).mean(dim=0)

    def _mix(self, probabilities: Tensor, shares: Tensor) -> Vectors:
        top = probabilities.topk(_CONSE_CLASSES)
        classes = (top.values.pow(_FLATNESS)[:, :, None] * self._class_vectors[top.indices]).sum(dim=1)
        return _unit(_unit(classes) + _COLOUR_WEIGHT * _unit(shares.sqrt() @ self._colour_vectors)).numpy()

    def _label(self, index: int, probability: float) -> ClassLabel:
        return ClassLabel(en=self._classes[index].en, zh=self._classes[index].zh, probability=probability)


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1)
