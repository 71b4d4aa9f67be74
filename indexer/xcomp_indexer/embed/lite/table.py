"""The sentence vectors of the classes: seconds to compute, so kept in a file between starts where there is room."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import torch
from torch import Tensor

from xcomp_indexer.embed.lite.sentence import SentenceEncoder


def class_vectors(encoder: SentenceEncoder, sentences: Sequence[str], *, cache: Path | None) -> Tensor:
    """Returns the vectors of the sentences `[1000, 384]`, from the file `cache` where it holds them.

    The file's name must change whenever the encoder or the sentences do.
    """
    if cache is None:
        return encoder.encode(sentences)
    if (kept := _load(cache, len(sentences))) is None:
        kept = encoder.encode(sentences)
        _save(cache, kept)
    return kept


def _load(path: Path, count: int) -> Tensor | None:
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # absent or cut off: it is computed again
        return None
    fits = isinstance(table, np.ndarray) and table.dtype == np.float32 and table.ndim == 2 and len(table) == count
    return torch.from_numpy(table) if fits else None


def _save(path: Path, vectors: Tensor) -> None:
    # Renamed into place, so that a second server never reads half a file.
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".npy", delete=False) as file:
        np.save(file, vectors.numpy(), allow_pickle=False)
    os.replace(file.name, path)
