"""Makes JPEGs that cost what photographs cost: smooth shapes under fine grain, at a size in megapixels."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = {12: (4000, 3000), 1: (1224, 816)}


def write(folder: Path, count: int, *, megapixels: int, seed: int = 0) -> Path:
    """Writes photographs, each with its own bytes, two or three megabytes at 12 megapixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        if not path.exists():
            _photograph(SIZES[megapixels], np.random.default_rng((seed, number))).save(path, quality=88)
    return folder


def _photograph(size: tuple[int, int], source: np.random.Generator) -> Image.Image:
    shapes = Image.fromarray(source.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = Image.fromarray(source.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)).resize(size)
    return Image.blend(shapes, grain, 0.12)
