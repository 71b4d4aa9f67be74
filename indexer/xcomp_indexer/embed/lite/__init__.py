"""The embedder of profile `lite`: a classifier and a sentence model joined, without any training of ours.

A picture becomes the mean of its likely classes' sentences (ConSE: Norouzi et al., arXiv:1312.5650); an English text
its own sentence vector; a Chinese text goes through a dictionary first. Both sides are centred on the mean of all
classes, so that one vector serves both languages. Files come from registry packages; no network.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from xcomp_indexer.embed import Encoded, Label, Vectors
from xcomp_indexer.embed.lite import weights
from xcomp_indexer.embed.lite.classes import load_classes
from xcomp_protos.transport.errors import ModelError

try:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from xcomp_indexer.embed.lite.chinese import Dictionary
    from xcomp_indexer.embed.lite.sentence import SentenceEncoder
    from xcomp_indexer.embed.lite.table import class_vectors
    from xcomp_indexer.embed.lite.vision import LITE2, Classifier
except ImportError as error:
    raise ModelError(f"profile lite needs {error.name}: install it with {weights.INSTALL}") from error

# A change of the algorithm that moves vectors raises this; it is part of the digest.
_REVISION = "1"
_FILES = (weights.EFFICIENTNET_LITE2, weights.MINILM, weights.MINILM_TOKENIZER, weights.CEDICT)
# Classes that shape a vector (arXiv:1312.5650 tries 1, 10 and 1000), and classes that are shown.
_CONSE_CLASSES = 20
_LABELS = 5
# Small batches run faster on a CPU: the early, wide layers of a larger one leave the cache.
_BATCH = 4


class LiteEmbedder:
    """EfficientNet-lite2 and all-MiniLM-L6-v2 in memory.

    Args:
        folder: where files copied by hand lie; without it they come from the installed packages.
        cache: where the sentence vectors of the classes are kept between starts; without it they are computed anew.
    """

    name = "lite"
    # A photo of 3:2 at which the network's crop is read pixel by pixel.
    image_size = LITE2.short_side * 3 // 2
    languages = frozenset({"en", "zh"})

    def __init__(self, folder: Path | None = None, *, cache: Path | None = None) -> None:
        files = {file: weights.read(file, folder) for file in _FILES}
        self._classifier = Classifier(files[weights.EFFICIENTNET_LITE2], LITE2)
        self._sentences = SentenceEncoder(files[weights.MINILM], files[weights.MINILM_TOKENIZER])
        self._dictionary = Dictionary(files[weights.CEDICT])
        self._classes = load_classes()
        sentences = [kind.sentence for kind in self._classes]
        self.digest = weights.digest([_REVISION, *(file.sha256 for file in _FILES), *sentences])
        vectors = class_vectors(self._sentences, sentences, cache=cache and cache / f"lite-{self.digest}.npy")
        self._centre = vectors.mean(dim=0)
        self._class_vectors = vectors - self._centre  # [1000, 384]
        self.dimension = vectors.shape[1]

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images, with their most probable classes."""
        if not images:
            return Encoded(np.empty((0, self.dimension), np.float32), ())
        batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
        probabilities = torch.cat([self._classifier.probabilities(batch) for batch in batches])
        top = probabilities.topk(_CONSE_CLASSES)
        mixed = (top.values[:, :, None] * self._class_vectors[top.indices]).sum(dim=1)
        labels = [
            [self._label(index, probability) for index, probability in zip(row, values, strict=True)]
            for row, values in zip(top.indices[:, :_LABELS].tolist(), top.values[:, :_LABELS].tolist(), strict=True)
        ]
        return Encoded(_unit(mixed), labels)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds English, Chinese or mixed texts of any length."""
        return _unit(self._sentences.encode([self._dictionary.translate(text) for text in texts]) - self._centre)

    def _label(self, index: int, probability: float) -> Label:
        return Label(en=self._classes[index].en, zh=self._classes[index].zh, probability=probability)


def _unit(vectors: Tensor) -> Vectors:
    return functional.normalize(vectors, dim=-1).numpy()
