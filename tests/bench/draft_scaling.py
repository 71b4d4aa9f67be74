"""What decoding at a reduced size changes: `OMP_NUM_THREADS=1 python -m tests.bench.draft_scaling`.

The demonstration's photographs, enlarged to 12 megapixels, are decoded whole and as an ingest decodes them (never
below four times the model's input), and both go through profile `lite` with its real weights. Pixels are compared
where a model of 224 reads them, shortest side and centre, in levels of 255. `--photos N` takes fewer.
"""

import argparse
import io
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.collect import load_photos, read
from tests.bench import machine
from xcomp_indexer import embed
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.images.decode import decode

PIXELS = 12_000_000
INPUT = 224
ENOUGH = 0.999  # cosine


@dataclass(frozen=True)
class Effect:
    """What reduced decoding changes about one photograph."""

    name: str
    cosine: float
    mean: float  # difference of pixels, levels
    most: float
    whole_s: float
    reduced_s: float


def main() -> None:
    """Prints the table; ends with 1 where a cosine is below 0.999."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=1000)
    wanted = parser.parse_args().photos
    embedder = embed.load("lite:minilm")
    print(machine.line("OMP_NUM_THREADS=1 python -m tests.bench.draft_scaling"))
    effects = [_effect(photo.id, read(photo), embedder) for photo in load_photos()[:wanted]]
    cosines = np.array([each.cosine for each in effects])
    worst = min(effects, key=lambda each: each.cosine)
    print(f"\n{len(effects)} photographs at 12 megapixels, input of {embedder.image_size}\n")
    print("| | least | median |")
    print("|---|---|---|")
    print(f"| cosine of the vectors | {cosines.min():.5f} ({worst.name}) | {np.median(cosines):.5f} |")
    print("\n| pixels at the input, levels of 255 | median | largest |")
    print("|---|---|---|")
    for said, values in (
        ("mean difference", [each.mean for each in effects]),
        ("largest difference", [each.most for each in effects]),
    ):
        print(f"| {said} | {np.median(values):.2f} | {max(values):.2f} |")
    ratio = sum(each.whole_s for each in effects) / sum(each.reduced_s for each in effects)
    print(f"\ndecoding whole takes {ratio:.1f} times as long")
    below = int((cosines < ENOUGH).sum())
    raise SystemExit(f"{below} photographs are below a cosine of {ENOUGH}" if below else 0)


def _effect(name: str, content: bytes, embedder: Embedder) -> Effect:
    large = _enlarged(content)
    begun = time.process_time()
    whole = decode(large).image
    middle = time.process_time()
    reduced = decode(large, image_size=embedder.image_size).image
    ended = time.process_time()
    vectors = embedder.encode_images([whole, reduced]).vectors
    difference = np.abs(_read(whole) - _read(reduced))
    cosine = float(vectors[0] @ vectors[1])
    return Effect(name, cosine, float(difference.mean()), float(difference.max()), middle - begun, ended - middle)


def _enlarged(content: bytes) -> bytes:
    """Returns a photograph as a JPEG of 12 megapixels, as a camera saves it."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    scale = (PIXELS / (image.width * image.height)) ** 0.5
    large = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    large.save(target, "JPEG", quality=92)
    return target.getvalue()


def _read(image: Image.Image) -> NDArray[np.float64]:
    """Returns what a model of 224 reads, [224, 224, 3] in levels of 255."""
    scale = INPUT / min(image.size)
    size = (max(INPUT, round(image.width * scale)), max(INPUT, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - INPUT) // 2, (size[1] - INPUT) // 2
    return np.asarray(small.crop((left, top, left + INPUT, top + INPUT)), dtype=np.float64)


if __name__ == "__main__":
    main()
