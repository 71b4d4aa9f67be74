"""The self-test of every loaded model: the vectors of two images and two texts must be what `Embedder` promises.

It uses the public calls only, so that it holds for every family. Without it, a broken model would show as a search with
useless results.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from xcomp_indexer.embed.base import Embedder, Vectors
from xcomp_protos.errors import ImageError, ModelError

_UNIT = 1e-3  # largest difference of a length from 1
_SAME = 0.999  # least cosine with the vector of the same image in another batch; also holds for half precision
_ROUNDING = 1e-5  # a row of a batch may be summed in another order than the next
LIKE_FP32 = 0.999  # least cosine of vectors in a lower precision, so that they may stand beside those of fp32
TEXTS = ("a photo of a red house by the sea", "一只猫在睡觉")
# What libraries raise on files that are damaged or belong to another model.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImageError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def check(embedder: Embedder) -> None:
    """Embeds two images and two texts.

    Raises:
        ModelError: the vectors have another width than the model says, are not finite or not of unit length, are equal
            for different images or texts, or depend on the rest of the batch.
    """
    try:
        images = sample_images()
        vectors = embedder.encode_images(images).vectors
        _check_vectors(embedder, "images", vectors)
        _check_vectors(embedder, "texts", embedder.encode_texts(TEXTS))
        alone = embedder.encode_batch([embedder.prepare(images[1])]).vectors
    except _DAMAGE as error:
        brief = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{embedder.name} cannot be used, its files are damaged or of another model: {brief}"
        ) from error
    if alone.shape != (1, embedder.dimension) or float(alone[0] @ vectors[1]) < _SAME:
        raise ModelError(f"{embedder.name} is unusable: the vector of an image depends on the rest of its batch")


def compare(exact: Embedder, rough: Embedder) -> float:
    """Returns the least cosine between what two embedders give the images and texts of the self-test."""
    one, other = (
        np.concatenate([each.encode_images(sample_images()).vectors, each.encode_texts(TEXTS)])
        for each in (exact, rough)
    )
    return float((one * other).sum(axis=1).min())


def sample_images() -> Sequence[Image.Image]:
    """Returns two different images; neither is square."""
    ramp = Image.linear_gradient("L").resize((300, 200))
    rings = Image.radial_gradient("L").resize((200, 300))
    return [Image.merge("RGB", (each, each.rotate(180), each)) for each in (ramp, rings)]


def _check_vectors(embedder: Embedder, kind: Literal["images", "texts"], vectors: Vectors) -> None:
    name = embedder.name
    if vectors.shape != (2, embedder.dimension) or vectors.dtype != np.float32:
        raise ModelError(
            f"{name} is unusable: its configuration says {embedder.dimension} wide, two {kind} have {vectors.dtype}"
            f" of shape {vectors.shape}"
        )
    if not np.isfinite(vectors).all():
        raise ModelError(f"{name} is unusable: its vectors of {kind} are not finite")
    lengths = np.linalg.norm(vectors, axis=1)
    if float(np.abs(lengths - 1).max()) > _UNIT:
        raise ModelError(f"{name} is unusable: its vectors of {kind} are not of length 1 but {lengths.max():.3g}")
    if float(np.abs(vectors[0] - vectors[1]).max()) < _ROUNDING:
        raise ModelError(f"{name} is unusable: it gives different {kind} the same vector")
