"""Makes classes.npy, the sentence vectors of the classes: `python -m xcomp_indexer.embed.lite.class_vectors`.

A class is the mean of two sentences' vectors: its WordNet names with their definition, and a description of what it
looks like. The file is kept in the repository, because computing it takes half a minute; run this again whenever the
sentence model or the names change.
"""

import json

import numpy as np
from torch import Tensor
from torch.nn import functional

from xcomp_indexer.embed.lite import weights
from xcomp_indexer.embed.lite.classes import VECTORS, load_classes
from xcomp_indexer.embed.lite.text import SentenceEncoder


def class_vectors(encoder: SentenceEncoder, *, first: int = 1000) -> Tensor:
    """Returns unit vectors of the classes with index below `first`, `[first, 384]`."""
    looks = load()
    classes = load_classes()[:first]
    defined = encoder.encode([f"{each.names}: {each.gloss}" for each in classes])
    # A few classes have no description: their definition stands in.
    seen = encoder.encode([looks.get(i, f"{each.names}: {each.gloss}") for i, each in enumerate(classes)])
    return functional.normalize(defined + seen, dim=-1)


def load() -> dict[int, str]:
    """Returns `name: description` by class index; a few classes have none.

    Raises:
        ModelError: the package is missing or of another version.
    """
    names = json.loads(weights.read(weights.CLASS_NAMES, None))
    described = json.loads(weights.read(weights.CLASS_DESCRIPTIONS, None))
    return {int(index): f"{names[int(index)]}: {entry['description']}" for index, entry in described.items()}


if __name__ == "__main__":
    model = SentenceEncoder(weights.read(weights.MINILM, None), weights.read(weights.MINILM_TOKENIZER, None))
    np.save(VECTORS, class_vectors(model).numpy().astype(np.float16), allow_pickle=False)
