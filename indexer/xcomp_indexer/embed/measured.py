"""An embedder that tells how long it took and how much it was given at once."""

from collections.abc import Sequence

from PIL import Image

from xcomp_indexer.embed import Embedder, Encoded, Prepared, Vectors
from xcomp_protos.transport import telemetry


class Measured:
    """Does what `embedder` does, as a stage of the work."""

    def __init__(self, embedder: Embedder, stage: str) -> None:
        self._embedder = embedder
        self._stage = stage
        self.name, self.digest = embedder.name, embedder.digest
        self.dimension, self.image_size = embedder.dimension, embedder.image_size
        self.languages, self.batch_size = embedder.languages, embedder.batch_size
        self.prepare = embedder.prepare

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Encoded:
        """Embeds prepared pictures; row i belongs to picture i."""
        telemetry.observe("batch_size", len(pictures), "images")
        with telemetry.stage(self._stage):
            return self._embedder.encode_prepared(pictures)

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images; row i belongs to image i."""
        telemetry.observe("batch_size", len(images), "images")
        with telemetry.stage(self._stage):
            return self._embedder.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts; row i belongs to text i."""
        telemetry.observe("batch_size", len(texts), "texts")
        with telemetry.stage(self._stage):
            return self._embedder.encode_texts(texts)
