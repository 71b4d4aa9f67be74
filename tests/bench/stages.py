"""The stages of an ingest one by one, then the ingest itself, as JSON; `tests.bench.system` runs it on one core."""

import json
import sys
import tempfile
import time
from pathlib import Path

from xcomp_indexer import embed
from xcomp_indexer.events import Order, Summary
from xcomp_indexer.ingest import BATCH, Ingest
from xcomp_indexer.library import Library
from xcomp_indexer.load import Loaded, Loader
from xcomp_indexer.models import Models
from xcomp_indexer.record import image_id, payload
from xcomp_indexer.scan import scan
from xcomp_indexer.store import Point
from xcomp_indexer.store.open import open_stores


def main(photos: str) -> None:
    """Measures and prints."""
    model = embed.load("lite:minilm")
    entries = scan([photos]).entries
    loader = Loader((), image_size=model.image_size, look_ahead=1)
    loaded = [loader.read(entry) for entry in entries]
    images = [item.image for item in loaded if item.image]
    model.encode_images(images[:BATCH])  # warm

    stages: dict[str, float] = {}
    begun = time.monotonic()
    for entry in entries:
        loader.read(entry)
    stages["decode"] = time.monotonic() - begun

    begun = time.monotonic()
    rows = [row for at in range(0, len(images), BATCH) for row in model.encode_images(images[at : at + BATCH]).vectors]
    stages["network"] = time.monotonic() - begun

    with tempfile.TemporaryDirectory() as folder:
        library = Library(open_stores(f"edge:{folder}"), Models(lambda _: model), default_profile="lite")
        store = library.create("alone", profile="lite").store
        points = [_point(item, row) for item, row in zip(loaded, rows, strict=True)]
        begun = time.monotonic()
        for at in range(0, len(points), BATCH):
            store.upsert(points[at : at + BATCH])
        store.flush()
        stages["upsert"] = time.monotonic() - begun

        repository = library.create("whole", profile="lite")
        begun = time.monotonic()
        events = list(Ingest(repository, lambda _: model, Order([photos])).run())
        seconds = time.monotonic() - begun
        summary = events[-1]
        assert isinstance(summary, Summary)
        assert summary.added == len(entries), f"{summary.added} of {len(entries)} images went in"
        library.close()
    print(json.dumps({"images": len(entries), "stages": stages, "ingest": seconds}))


def _point(item: Loaded, row: object) -> Point:
    content = payload(item, size=item.size, labels=(), spaces=["lite"])
    return Point(image_id("alone", str(Path(item.entry.path))), {"lite": row}, content.write())  # type: ignore[dict-item]


if __name__ == "__main__":
    main(sys.argv[1])
