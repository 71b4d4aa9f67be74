"""The weightless embedder: honest in its small field."""

import numpy as np
import pytest

from tests import images
from tests.nearness import ELEMENTWISE, assert_close
from xcomp_indexer import embed
from xcomp_indexer.embed.color import ColorEmbedder
from xcomp_protos.errors import InvalidRequest

COLORS = {"red": images.RED, "green": images.GREEN, "blue": images.BLUE, "white": (250, 250, 250), "black": (5, 5, 5)}


def test_a_colour_finds_its_image_in_both_languages() -> None:
    eye = ColorEmbedder()
    pictures = eye.encode_images([images.plain(color) for color in COLORS.values()]).vectors
    for texts in (list(COLORS), ["红", "绿色的", "蓝天", "白墙", "黑"]):
        nearest = (eye.encode_texts(texts) @ pictures.T).argmax(axis=1)
        assert nearest.tolist() == [0, 1, 2, 3, 4]


def test_vectors_have_unit_length_and_the_width_it_says() -> None:
    eye = ColorEmbedder()
    vectors = np.concatenate(
        [eye.encode_images([images.plain()]).vectors, eye.encode_texts(["", "no colour", "a" * 10_000])]
    )
    assert vectors.shape == (4, eye.dimension)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_batch_equals_its_parts() -> None:
    eye = ColorEmbedder()
    pictures = [images.striped(images.RED, images.BLUE), images.plain(images.GREEN)]
    together = eye.encode_images(pictures).vectors
    assert_close(together, np.concatenate([eye.encode_images([each]).vectors for each in pictures]), atol=ELEMENTWISE)


def test_it_is_loaded_by_name() -> None:
    assert embed.load("color:hsv").name == "color:hsv"


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="unknown embedder"):
        embed.load("nonsense:x")
