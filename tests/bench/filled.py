"""A repository of generated vectors behind a real server process, for the benchmarks of search.

The vectors lie around a few dozen centres as images of a library do, and the payloads are those of photographs; no
file is behind them. Models of true shape with random weights cost what trained ones cost.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.repository.image_record import ImagePayload
from xcomp_indexer.store import Point
from xcomp_indexer.store.factory import open_stores

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "default"
CLUSTERS, SPREAD = 40, 0.7
_BATCH = 2000
_WORDS = (
    "harbour", "red", "boat", "evening", "garden", "old", "town", "snow", "mountain", "child", "market", "rain",
    "train", "coffee", "bridge", "yellow", "field", "window", "dog", "concert",
)  # fmt: skip


def texts(count: int, *, seed: int = 0) -> list[str]:
    """Returns that many different short queries."""
    chosen = np.random.default_rng(seed).choice(_WORDS, (count, 6))
    return [f"{' '.join(row)} {number}" for number, row in enumerate(chosen.tolist())]


def clip(folder: Path) -> str:
    """Writes a random ViT-B-32 of open_clip, and returns the profile of a repository of it."""
    import open_clip  # type: ignore[import-untyped]  # it ships no types
    import torch
    from safetensors.torch import save_file

    from tests.clip_checkpoints import MEAN, STD

    if not folder.is_dir():
        folder.mkdir(parents=True)
        preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
        config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": preprocess}
        torch.manual_seed(0)
        save_file(open_clip.create_model("ViT-B-32").state_dict(), folder / "open_clip_model.safetensors")
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    return f"en=open_clip:{folder}"


def fill(home: Path, profile: str, count: int) -> None:
    """Makes a repository of so many generated vectors below a server's home, unless it is there."""
    library = RepositoryCatalog(open_stores(f"edge:{home / 'repositories'}"), EmbedderCache(), default_profile=profile)
    try:
        if library.exists(REPOSITORY):
            return
        store = library.create(REPOSITORY, profile=profile).store
        generator = np.random.default_rng(7)
        centres = {space: _unit(generator.normal(size=(CLUSTERS, width))) for space, width in store.spaces().items()}
        for start in range(0, count, _BATCH):
            size = min(_BATCH, count - start)
            rows = {space: vectors(each, size, generator) for space, each in centres.items()}
            store.upsert([_point(start + at, {space: each[at] for space, each in rows.items()}) for at in range(size)])
        store.flush()
        if store.wants_optimizing():  # as an ingest would
            for _ in store.optimize():
                pass
    finally:
        library.close()


def vectors(centres: NDArray[np.float64], count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Returns unit vectors around the centres, `[count, D]`."""
    width = centres.shape[1]
    noise = generator.normal(size=(count, width)) * SPREAD / width**0.5
    return _unit(centres[generator.integers(len(centres), size=count)] + noise).astype(np.float32)


@contextmanager
def server(home: Path, profile: str, *, cpu: int | None = None) -> Iterator[tuple[str, int]]:
    """Runs the indexer as a process of its own, its models loaded; yields its address and process id."""
    address = f"unix:{home / 'bench.sock'}"
    pinned = ["taskset", "-c", str(cpu)] if cpu is not None else []
    command = [sys.executable, "-m", "xcomp_indexer.server.main", "--home", str(home), "--listen", address]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("XCOMP_")}
    process = subprocess.Popen(
        [*pinned, *command, "--profile", profile, "--preload", "--log-level", "WARNING"],
        env={**environment, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        if not process.stderr.readline().startswith("listening"):
            sys.exit(f"error: {' '.join(command)} does not start")
        yield address, process.pid
    finally:
        process.terminate()
        process.communicate()


def quantiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Returns p50, p95 and p99 in milliseconds."""
    p50, p95, p99 = np.quantile(np.asarray(seconds) * 1000, (0.5, 0.95, 0.99)).tolist()
    return p50, p95, p99


def _point(number: int, row: dict[str, NDArray[np.float32]]) -> Point:
    content = ImagePayload(
        path=Path(f"/photos/{number % 97:02}/image-{number:07}.jpg"),
        root=Path("/photos"),
        size=3_000_000 + number,
        mtime_ns=1_700_000_000_000_000_000 + number,
        content_hash=f"{number:032x}",
        width=4000,
        height=3000,
        tags=[_WORDS[number % 20], _WORDS[number % 19]],
        rights="cc-by",
        creator=f"photographer {number % 50}",
        metadata={
            "title": f"Image {number}",
            "creator": f"Photographer {number % 50}",
            "tags": [_WORDS[number % 20]],
        },
    )
    return Point(str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))), row, content.write())


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
