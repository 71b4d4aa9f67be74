"""How fast profile `lite` is, and what it holds: `taskset -c 0 python -m tests.bench.lite_speed [PIXELS]`.

Decoding is timed on JPEGs of PIXELS on the long side (4000 without it), as cameras make them; each stage runs alone.
Rates are per second of processor time, so that a busy machine does not bend them: on one idle core, per second.
"""

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bench import machine

_PHOTOS = 24
_REPEATS = 2


def main() -> None:
    """Prints the table."""
    started = time.perf_counter()
    from xcomp_indexer.embed.engine import openvino

    imported = time.perf_counter()
    from xcomp_indexer.embed import load
    from xcomp_indexer.embed.lite import colors
    from xcomp_indexer.images import decode

    embedder = load("lite")
    loaded = time.perf_counter()
    long_side = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    files = [_jpeg(seed, long_side=long_side) for seed in range(_PHOTOS)]
    images = [decode.decode(content, image_size=embedder.image_size).image for content in files]
    print(machine.line("python -m tests.bench.lite_speed"))
    print(f"OpenVINO {openvino.version()}, {_PHOTOS} JPEGs {long_side} px long, {len(files[0]) / 1e6:.1f} MB\n")
    print(f"import openvino      {imported - started:8.2f} s")
    print(f"load the embedder    {loaded - imported:8.2f} s")
    read = _rate(lambda: [decode.decode(content, image_size=embedder.image_size) for content in files])
    seen = _rate(lambda: embedder.encode_images(images))
    named = _rate(lambda: [colors.measure_shares(image) for image in images])
    print(f"decode               {read:8.1f} img/s")
    print(f"embed                {seen:8.1f} img/s (of which colours {named:.0f} img/s)")
    print(f"decode + embed       {1 / (1 / read + 1 / seen):8.1f} img/s")
    texts = ("a red motorcycle in front of a garage", "车库前的一辆红色摩托车", "A long sentence. " * 150)
    for text in texts:
        begun = time.perf_counter()
        for _ in range(5):
            embedder.encode_texts([text])
        print(f"text of {len(text):5} characters {(time.perf_counter() - begun) * 200:8.1f} ms")
    print(f"torch imported       {'torch' in sys.modules}")
    print("".join(line for line in Path("/proc/self/smaps_rollup").read_text().splitlines(True) if line[:4] in _MEMORY))


_MEMORY = ("Rss:", "Pss:")


def _jpeg(seed: int, *, long_side: int) -> bytes:
    # Smooth noise compresses like a photo does, to about a megabyte per five megapixels.
    noise = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((long_side, long_side * 3 // 4), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _rate(run: Callable[[], object]) -> float:
    run()
    begun = time.process_time()
    for _ in range(_REPEATS):
        run()
    return _REPEATS * _PHOTOS / (time.process_time() - begun)


if __name__ == "__main__":
    main()
