"""Makes JPEGs that cost what photographs cost: smooth shapes under fine grain, at a size in megapixels."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

_PICTURES = 12
SIZES = {12: (4000, 3000), 1: (1224, 816)}


def write(folder: Path, count: int, *, megapixels: int, seed: int = 0) -> Path:
    """Writes photographs, each with its own bytes: a number behind the end of an image makes another file of it."""
    folder.mkdir(parents=True)
    pictures = [_photograph(SIZES[megapixels], np.random.default_rng((seed, number))) for number in range(_PICTURES)]
    for number in range(count):
        (folder / f"{number:05}.jpg").write_bytes(pictures[number % _PICTURES] + number.to_bytes(4, "big"))
    return folder


def _photograph(size: tuple[int, int], source: np.random.Generator) -> bytes:
    shapes = Image.fromarray(source.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = Image.fromarray(source.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)).resize(size)
    content = io.BytesIO()
    Image.blend(shapes, grain, 0.12).save(content, "JPEG", quality=88)
    return content.getvalue()
