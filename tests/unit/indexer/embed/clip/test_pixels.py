import numpy as np
import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2  # type: ignore[import-untyped]  # it ships no types
from PIL import Image

from xcomp_indexer.embed.clip.pixels import crop_middle, crop_strip, squash


def noise(random: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_pixels_are_those_of_the_librarys_transform() -> None:
    random = np.random.default_rng(0)
    for size in (32, 224, 37):
        transform = image_transform_v2(PreprocessCfg(size=size, mean=(0, 0, 0), std=(1, 1, 1)), is_train=False)
        sides = [(size, size), (size, 2 * size), (size + 1, size), *random.integers(20, 400, (60, 2)).tolist()]
        for width, height in sides:
            image = noise(random, width, height)
            expected = transform(crop_strip(image)).permute(1, 2, 0).mul(255).round().byte().numpy()
            np.testing.assert_array_equal(crop_middle(image, size), expected, err_msg=f"{width}x{height} to {size}")


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (1, 1)])
def test_a_strip_costs_no_more_than_an_image(size: tuple[int, int]) -> None:
    assert crop_middle(Image.new("RGB", size), 32).shape == (32, 32, 3)
    assert max(crop_strip(Image.new("RGB", size)).size) <= 17


def test_pixels_are_rgb_whatever_the_mode() -> None:
    for mode in ("L", "RGBA", "P"):
        assert crop_middle(Image.new(mode, (50, 40)), 32).shape == squash(Image.new(mode, (50, 40)), 32).shape
