"""Arithmetic of vectors that the families of embedders share."""

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed.base import Vectors


def normalize(vectors: NDArray[np.float32]) -> Vectors:
    """Scales vectors along the last axis to unit length; a vector of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32, copy=False)
    return unit
