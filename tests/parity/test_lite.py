"""Profile `lite` compared with the vectors that its networks had in torch: repositories stay valid."""

from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from xcomp_indexer.embed.lite import LiteEmbedder

GOLDEN = Path(__file__).parents[1] / "golden" / "lite" / "vectors.npz"
PHOTOS = ("chelsea.png", "coffee.png", "motorcycle_left.png")
TEXTS = ("a cat", "一杯咖啡", "the 摩托车 (red)", "The harbour in the evening. " * 60)
NEAR = 1e-4


@pytest.fixture(scope="module")
def embedder() -> LiteEmbedder:
    return LiteEmbedder()


def test_images_keep_the_vectors_of_torch(embedder: LiteEmbedder) -> None:
    folder = Path(skimage.__file__).parent / "data"
    photos = [Image.open(folder / name).convert("RGB") for name in PHOTOS]
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(embedder.encode_images(photos).vectors, golden["images"], atol=NEAR)


def test_texts_keep_the_vectors_of_torch(embedder: LiteEmbedder) -> None:
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(embedder.encode_texts(TEXTS), golden["texts"], atol=NEAR)


def test_the_digest_is_the_one_of_existing_repositories(embedder: LiteEmbedder) -> None:
    assert embedder.digest == "6ae45fb2fede86705a09f16f703f7ae9b2ed913f2e24c03a96231e5b20fb31e5"
