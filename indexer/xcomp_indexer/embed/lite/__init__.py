"""The embedder of profile `lite`: classifiers and a sentence model, combined without further training.

The vector of an image is the mean of the sentences of its likely classes (ConSE: Norouzi et al., arXiv:1312.5650) and
of the names of its colours. The vector of an English text is its sentence vector; a Chinese text is translated with a
dictionary first. Both are centred on the mean of all classes. The files come from installed packages.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer.embed import selftest
from xcomp_indexer.embed.base import ClassLabel, Encoded, Prepared, Vectors
from xcomp_indexer.embed.engine.cpus import count_usable_cores
from xcomp_indexer.embed.engine.execution import AUTO, Execution, require_openvino
from xcomp_indexer.embed.engine.openvino import Precision
from xcomp_indexer.embed.lite import colors, weights
from xcomp_indexer.embed.lite.classes import digest_vectors, load_classes, load_vectors
from xcomp_indexer.embed.lite.dictionary import Dictionary
from xcomp_indexer.embed.lite.image import LITE0, LITE2, Classifier, Probabilities
from xcomp_indexer.embed.lite.text import SentenceEncoder
from xcomp_indexer.embed.vectors import normalize
from xcomp_indexer.embed.weights.sources import Release

log = logging.getLogger(__name__)

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


def load(release: Release, execution: Execution = AUTO) -> "LiteEmbedder":
    """Loads the embedder from the installed packages.

    `auto` is fp32: bf16 moves the vectors of some images further than those of a CLIP model.

    Raises:
        ModelError: a package is missing, or OpenVINO cannot run the networks here.
    """
    require_openvino(release.model, execution)
    exact = LiteEmbedder()
    if execution.precision != "bf16":
        return exact
    rough = LiteEmbedder(precision="bf16")
    if (cosine := selftest.compare(exact, rough)) >= selftest.LIKE_FP32:
        return rough
    log.warning("event=kept_fp32 model=lite cosine_of_bf16=%.5f", cosine)
    return exact


class LiteEmbedder:
    """EfficientNet-lite0 and -lite2 and all-MiniLM-L6-v2 in memory.

    Args:
        folder: holds copies of the files; without it they come from installed packages.
    """

    name = "lite:minilm"
    image_size = max(variant.size for _, variant in _NETWORKS)
    languages = frozenset({"en", "zh"})
    batch_size = 16

    def __init__(self, folder: Path | None = None, *, precision: Precision = "fp32") -> None:
        self.runs_on = f"openvino cpu {precision}"
        files = {file: weights.find(file, folder) for file in _FILES}
        self._classifiers = [Classifier(files[file], variant, precision=precision) for file, variant in _NETWORKS]
        self._sentences = SentenceEncoder(files[weights.MINILM], files[weights.MINILM_TOKENIZER], precision=precision)
        self._classes = load_classes()
        self._dictionary = Dictionary(files[weights.CEDICT].read_bytes(), {each.zh: each.en for each in self._classes})
        self.digest = weights.digest([_REVISION, *(file.sha256 for file in _FILES), digest_vectors()])
        vectors = load_vectors()
        self._center = vectors.mean(axis=0)
        self._class_vectors = vectors - self._center  # [1000, 384]
        names = self._sentences.encode([f"the color {name}" for name in colors.NAMES])
        self._color_vectors = normalize(names - names.mean(axis=0))  # [11, 384]
        self.dimension = vectors.shape[1]
        # One thread per image is faster than many threads for one image: the layers are small, and the decoder needs
        # cores as well.
        self._threads = ThreadPoolExecutor(count_usable_cores(), thread_name_prefix="lite")

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
        whole, positions = np.stack(list(self._threads.map(self._classify, images)), axis=1)  # [B, 1000] each
        shares = np.stack([colors.measure_shares(image) for image in images])
        labels = [
            [self._label(index, float(row[index])) for index in best.tolist()]
            for row, best in zip(whole, _find_largest(whole, _LABELS), strict=True)
        ]
        return Encoded(self._mix(positions, shares), labels)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds English, Chinese or mixed texts of any length."""
        english = self._sentences.encode([self._dictionary.translate(text) for text in texts])
        return normalize(english - self._center)

    def _classify(self, image: Image.Image) -> Probabilities:
        each = [classifier.classify(image) for classifier in self._classifiers]
        mean: Probabilities = np.mean(each, axis=0, dtype=np.float32)
        return mean

    def _mix(self, probabilities: NDArray[np.float32], shares: NDArray[np.float32]) -> Vectors:
        top = _find_largest(probabilities, _CONSE_CLASSES)
        powers = np.take_along_axis(probabilities, top, axis=1) ** np.float32(_FLATNESS)
        classes = np.einsum("bk,bkd->bd", powers, self._class_vectors[top])
        return normalize(normalize(classes) + _COLOR_WEIGHT * normalize(np.sqrt(shares) @ self._color_vectors))

    def _label(self, index: int, probability: float) -> ClassLabel:
        return ClassLabel(en=self._classes[index].en, zh=self._classes[index].zh, probability=probability)


def _find_largest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Returns the indices of the largest values of each row, the largest first: `[B, count]`."""
    return np.argsort(-values, axis=1, kind="stable")[:, :count]
