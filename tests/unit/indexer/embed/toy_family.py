"""A family of embedders as a contributor adds it: this module, and one row of the registry."""

from xcomp_indexer.embed.color import ColorEmbedder
from xcomp_indexer.embed.engine.execution import Execution
from xcomp_indexer.embed.weights.sources import Release


class ToyEmbedder(ColorEmbedder):
    """The embedder without weights, under a name that its file says."""

    def __init__(self, release: Release) -> None:
        (weights,) = release.find()
        self.name = f"toy:{weights.read_text()}"


def load(release: Release, _: Execution) -> ToyEmbedder:
    """Loads a model whose files are on this machine."""
    return ToyEmbedder(release)
