"""The self-test of every model that is loaded: a few pictures and texts, whose vectors must be what the seam promises.

It goes through the public calls alone, so that no family of models can forget it. What it finds would otherwise be
noticed as a search that finds nonsense.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from xcomp_indexer.embed import Embedder, Vectors
from xcomp_protos.errors import ImageError, ModelError

_UNIT = 1e-3  # how far from 1 a length may be
_SAME = 0.999  # cosine with the vector of the same picture in another batch, in half precision as well
_ROUNDING = 1e-5  # a row of a batch may be added up in another order than the next
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
    """Embeds two pictures and two texts.

    Raises:
        ModelError: the vectors have another width than the model says, are not finite or not of unit length, do not
            tell pictures or texts apart, or depend on what else is in the batch.
    """
    try:
        shown = pictures()
        seen = embedder.encode_images(shown).vectors
        _check_sound(embedder, "pictures", seen)
        _check_sound(embedder, "texts", embedder.encode_texts(TEXTS))
        alone = embedder.encode_prepared([embedder.prepare(shown[1])]).vectors
    except _DAMAGE as error:
        brief = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{embedder.name} cannot be used, its files are damaged or of another model: {brief}"
        ) from error
    if alone.shape != (1, embedder.dimension) or float(alone[0] @ seen[1]) < _SAME:
        raise ModelError(f"{embedder.name} is unusable: the vector of a picture depends on what it is embedded with")


def pictures() -> Sequence[Image.Image]:
    """Two pictures that no model should mix up, neither of them square."""
    ramp = Image.linear_gradient("L").resize((300, 200))
    rings = Image.radial_gradient("L").resize((200, 300))
    return [Image.merge("RGB", (each, each.rotate(180), each)) for each in (ramp, rings)]


def _check_sound(embedder: Embedder, kind: Literal["pictures", "texts"], vectors: Vectors) -> None:
    name = embedder.name
    if vectors.shape != (2, embedder.dimension) or vectors.dtype != np.float32:
        raise ModelError(
            f"{name} is unusable: its configuration says {embedder.dimension} wide, two {kind} gave {vectors.dtype}"
            f" of shape {vectors.shape}"
        )
    if not np.isfinite(vectors).all():
        raise ModelError(f"{name} is unusable: its vectors of {kind} are not finite")
    lengths = np.linalg.norm(vectors, axis=1)
    if float(np.abs(lengths - 1).max()) > _UNIT:
        raise ModelError(f"{name} is unusable: its vectors of {kind} are not of length 1 but {lengths.max():.3g}")
    if float(np.abs(vectors[0] - vectors[1]).max()) < _ROUNDING:
        raise ModelError(f"{name} is unusable: it gives different {kind} the same vector")
