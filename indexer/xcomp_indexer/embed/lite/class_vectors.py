"""Computes classes.npy, the sentence vectors of the classes: `python -m xcomp_indexer.embed.lite.class_vectors`.

The vector of a class is the mean of two sentences: its WordNet names with their definition, and a description of its
appearance. The file is part of the source tree, because computing it takes half a minute. Run this again when the
sentence model or the names change.
"""

import json

import numpy as np

from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.embed.lite import weights
from xcomp_indexer.embed.lite.classes import VECTORS, load_classes
from xcomp_indexer.embed.lite.text import SentenceEncoder
from xcomp_indexer.embed.vectors import normalize


def compute_class_vectors(encoder: SentenceEncoder, *, first: int = 1000) -> Vectors:
    """Returns unit vectors of the classes with index below `first`, `[first, 384]`."""
    descriptions = load_descriptions()
    classes = load_classes()[:first]
    definitions = encoder.encode([f"{each.names}: {each.gloss}" for each in classes])
    # The definition replaces the description that a few classes lack.
    appearances = encoder.encode([descriptions.get(i, f"{each.names}: {each.gloss}") for i, each in enumerate(classes)])
    return normalize(definitions + appearances)


def load_descriptions() -> dict[int, str]:
    """Returns `name: description` by class index; a few classes have no description.

    Raises:
        ModelError: the package is missing or of another version.
    """
    names = json.loads(weights.find(weights.CLASS_NAMES, None).read_bytes())
    descriptions = json.loads(weights.find(weights.CLASS_DESCRIPTIONS, None).read_bytes())
    return {int(index): f"{names[int(index)]}: {entry['description']}" for index, entry in descriptions.items()}


if __name__ == "__main__":
    model = SentenceEncoder(weights.find(weights.MINILM, None), weights.find(weights.MINILM_TOKENIZER, None))
    np.save(VECTORS, compute_class_vectors(model).astype(np.float16), allow_pickle=False)
