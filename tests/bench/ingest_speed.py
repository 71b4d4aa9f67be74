"""How near an ingest comes to the ideal: `taskset -c 0 python -m tests.bench.ingest_speed [--images 48] [--quick]`.

On shared cores the ideal is one over the sum of what the stages cost each image, each alone on the same cores; with a
device of its own, the slower of decoding and the forward pass. A device that is not here is one that sleeps: it leaves
the cores alone, as a real one does. Networks have their true shapes and random weights. Every row takes the best of
several rounds of stages and ingest in turn, since a machine is only ever slowed down; the last column compares seconds
of the processor, which others on the machine do not bend.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.bench import machine, photographs
from tests.bench.clip_speed import chinese_clip, open_clip_b32
from xcomp_indexer import embed
from xcomp_indexer.embed.base import Embedder, Encoded, Prepared, Vectors
from xcomp_indexer.embed.engine.execution import Execution
from xcomp_indexer.ingest.encoder import EncodedImage, SpaceEncoder
from xcomp_indexer.ingest.events import IngestRequest, Summary
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.ingest.loader import LoadedImage, Loader
from xcomp_indexer.ingest.points import build_payload, image_id
from xcomp_indexer.ingest.scan import Entry, scan
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.store import Point
from xcomp_indexer.store.factory import open_stores
from xcomp_protos.machine import core_count

Spaces = Mapping[str, Embedder]


@dataclass(frozen=True)
class Seconds:
    """What something took: by the clock, and of the processor."""

    wall: float
    cpu: float

    @staticmethod
    def since(begun: "Seconds") -> "Seconds":
        return Seconds(time.monotonic() - begun.wall, time.process_time() - begun.cpu)

    @staticmethod
    def now() -> "Seconds":
        return Seconds(time.monotonic(), time.process_time())


Costs = dict[str, Seconds]  # of all images, by stage, each alone


class Device:
    """A model on a device of its own: so many images in a second, and the cores left alone."""

    name, digest, dimension, image_size, batch_size = "device", "0" * 64, 512, 224, 16
    runs_on = "nothing"
    languages = frozenset({"en", "zh"})

    def __init__(self, images_per_second: float) -> None:
        self._second = images_per_second

    def prepare(self, image: Image.Image) -> Prepared:
        return np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC), np.float32)

    def encode_batch(self, pictures: Sequence[Prepared]) -> Encoded:
        time.sleep(len(pictures) / self._second)
        return Encoded(np.eye(1, 512, dtype=np.float32).repeat(len(pictures), axis=0))

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        return self.encode_batch([self.prepare(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="1 megapixel and ViT-B/32 only")
    options = parser.parse_args()
    torch.set_num_threads(core_count())
    print(machine.line(f"taskset -c 0 python -m tests.bench.ingest_speed --images {options.images}"))
    engines = f"torch {torch.__version__}, OpenVINO {version('openvino')}"
    print(f"\n{core_count()} core(s), {engines}, best of {options.rounds} rounds\n")
    stages = "decode s | forward s | upsert s"
    print(f"| spaces | MP | images | {stages} | ideal img/s | ingest img/s | of the ideal | in cpu time |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="xcomp-bench-") as home:
        for megapixels in (1,) if options.quick else photographs.SIZES:
            many = photographs.write(Path(home, f"{megapixels}-many"), 8 * options.images, megapixels=megapixels)
            _device_row(Path(home), many, megapixels, options.rounds)
            folder = photographs.write(Path(home, f"{megapixels}"), options.images, megapixels=megapixels)
            for name, make in _shared(Path(home), quick=options.quick).items():
                _row(name, make(), Path(home), folder, megapixels, options.rounds, own_device=False)


def _shared(home: Path, *, quick: bool) -> dict[str, Callable[[], Spaces]]:
    """The models that run on the cores which decode, too."""
    english, chinese = home / "en", home / "zh"
    if not english.exists():
        open_clip_b32(english)
        chinese_clip(chinese)
    en, zh = partial(embed.load, f"open_clip:{english}"), partial(embed.load, f"chinese_clip:{chinese}")
    rows: dict[str, Callable[[], Spaces]] = {
        "ViT-B/32, torch": lambda: {"en": en(Execution("torch"))},
        "ViT-B/32": lambda: {"en": en()},
    }
    more: dict[str, Callable[[], Spaces]] = {
        "ViT-B/32 + Chinese-CLIP B/16": lambda: {"en": en(), "zh": zh()},
        "lite": lambda: {"lite": embed.load("lite:minilm")},
    }
    return rows if quick else rows | more


def _device_row(home: Path, folder: Path, megapixels: int, rounds: int) -> None:
    """A device about as fast as the cores decode, where every overhead shows."""
    entries = scan([str(folder)]).entries
    device = Device(len(entries) / _decoding(_loader({"en": Device(1)}), entries)[0].wall)
    _row("a device of its own (simulated)", {"en": device}, home, folder, megapixels, rounds, own_device=True)


def _row(
    name: str, spaces: Spaces, home: Path, folder: Path, megapixels: int, rounds: int, *, own_device: bool
) -> None:
    entries = scan([str(folder)]).entries
    _stages(spaces, entries[:16], home)  # warm
    costs: list[Costs] = []
    runs: list[Seconds] = []
    for _ in range(rounds):
        costs.append(_stages(spaces, entries, home))
        runs.append(_ingest(spaces, folder, home))
    wall = {stage: min(each[stage].wall for each in costs) for stage in costs[0]}
    ideal = max(wall["decode"], wall["forward"]) if own_device else sum(wall.values())
    real = min(run.wall for run in runs)
    cpu = min(sum(each.cpu for each in cost.values()) for cost in costs) / min(run.cpu for run in runs)
    cells = [name, str(megapixels), str(len(entries)), *(f"{seconds:.2f}" for seconds in wall.values())]
    cells += [f"{len(entries) / ideal:.1f}", f"{len(entries) / real:.1f}", f"{ideal / real:.2f}"]
    print(f"| {' | '.join(cells)} | {'' if own_device else f'{cpu:.2f}'} |", flush=True)


def _stages(spaces: Spaces, entries: Sequence[Entry], home: Path) -> Costs:
    """Runs decoding, forward pass and upsert one after the other."""
    loader = _loader(spaces)
    decode, loaded = _decoding(loader, entries)
    embedding = SpaceEncoder([*spaces], spaces.__getitem__)
    size = max(each.batch_size for each in spaces.values())
    batches = [loaded[at : at + size] for at in range(0, len(loaded), size)]
    begun = Seconds.now()
    seen: list[EncodedImage] = []
    for batch in batches:
        seen += embedding.encode([item.prepared or {} for item in batch], [item.size for item in batch])
    forward = Seconds.since(begun)
    points = list(map(_point, loaded, seen))
    with tempfile.TemporaryDirectory(dir=home) as folder:
        stores = open_stores(f"edge:{folder}")
        store = stores.create("alone", {space: each.dimension for space, each in spaces.items()})
        begun = Seconds.now()
        for at in range(0, len(points), size):
            store.upsert(points[at : at + size])
        store.flush()
        upsert = Seconds.since(begun)
        store.close()
    return {"decode": decode, "forward": forward, "upsert": upsert}


def _point(item: LoadedImage, seen: EncodedImage) -> Point:
    content = build_payload(item, size=item.size, labels=seen.labels)
    return Point(image_id("alone", item.entry.path), seen.vectors, content.write())


def _loader(spaces: Spaces) -> Loader:
    prepare = SpaceEncoder([*spaces], spaces.__getitem__).prepare
    return Loader((), prepare, image_size=max(each.image_size for each in spaces.values()))


def _decoding(loader: Loader, entries: Sequence[Entry]) -> tuple[Seconds, list[LoadedImage]]:
    begun = Seconds.now()
    loaded = [item for _, item in loader.load_ahead(entries, lambda: 32) if isinstance(item, LoadedImage)]
    return Seconds.since(begun), loaded


def _ingest(spaces: Spaces, photos: Path, home: Path) -> Seconds:
    with tempfile.TemporaryDirectory(dir=home) as folder:
        models = EmbedderCache(lambda space: spaces[space])
        library = RepositoryCatalog(
            open_stores(f"edge:{folder}"), models, default_profile=",".join(f"{name}={name}" for name in spaces)
        )
        repository = library.create("whole")
        begun = Seconds.now()
        *_, summary = Ingest(repository, partial(library.embedder, repository), IngestRequest([str(photos)])).run()
        taken = Seconds.since(begun)
        library.close()
    assert isinstance(summary, Summary)
    assert summary.added == summary.scanned, f"{summary.added} of {summary.scanned} images went in"
    return taken


if __name__ == "__main__":
    main()
