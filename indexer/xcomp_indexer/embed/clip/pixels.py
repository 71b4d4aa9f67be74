"""Pillow's part of the preprocessing of CLIP models: from an upright RGB image to pixels of the model's size."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STRIP = 16  # an image whose long side is this many times the short side is a strip


def crop_middle(image: Image.Image, size: int) -> NDArray[np.uint8]:  # -> [S, S, 3]
    """Resizes the short side to `size` by the bicubic filter and cuts out the middle.

    Sizes are rounded as by `Resize` and `CenterCrop` of torchvision, which open_clip uses, so that pixels are equal.
    """
    image = crop_strip(image)
    width, height = image.size
    short, long = min(image.size), max(image.size)
    scaled = int(size * long / short)
    target = (size, scaled) if width <= height else (scaled, size)
    if image.size != target:
        image = image.resize(target, Image.Resampling.BICUBIC)
    left, top = (round((side - size) / 2) for side in target)
    return np.array(image.crop((left, top, left + size, top + size)).convert("RGB"))


def squash(image: Image.Image, size: int) -> NDArray[np.uint8]:  # -> [S, S, 3]
    """Resizes to a square by the bicubic filter."""
    return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))


def crop_strip(image: Image.Image) -> Image.Image:
    """Cuts off the ends of a strip: otherwise all of it is enlarged, to gigabytes, and then the middle is cut out."""
    width, height = image.size
    kept = _STRIP * min(image.size)
    if max(image.size) <= kept:
        return image
    left, top = max(0, (width - kept) // 2), max(0, (height - kept) // 2)
    return image.crop((left, top, width - left, height - top))
