"""A server that is killed while it fills a space, with a real model: the same command completes what it began."""

import signal
from pathlib import Path

import numpy as np
import pytest

from tests import images
from tests.clip_checkpoints import open_clip_folder, sample_images
from tests.processes import process
from xcomp_indexer.store.factory import open_stores
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Unavailable

COUNT = 200
WAIT_S = 60


def add(client: IndexerClient, space: str, model: str) -> int:
    """Fills a space; returns how many images it embedded."""
    events = client.add_space(pb.AddSpaceRequest(repository="default", space=space, model=model))
    return list(events)[-1].summary.filled


def vectors(home: Path, space: str) -> np.ndarray:
    """The vectors of a space in the order of the ids, [N, D]."""
    store = open_stores(f"edge:{home / 'repositories'}").open("default")
    try:
        return np.stack([point.vectors[space] for point in store.scan(vectors=True)])
    finally:
        store.close()


def test_a_killed_fill_is_completed_by_the_next_one_as_if_nothing_had_happened(
    home: Path, photos: Path, tmp_path: Path
) -> None:
    # Large, so that filling takes longer than a kill; one content each, by a byte after the image.
    kinds = [images.encoded(image.resize((1600, 1200))) for image in sample_images()]
    for at in range(COUNT):
        (photos / f"{at:03}.jpg").write_bytes(kinds[at % len(kinds)] + bytes([at]))
    model = f"open_clip:{open_clip_folder(tmp_path / 'model')}"
    with process(home) as (server, address), IndexerClient(address) as client:
        list(client.ingest(pb.IngestRequest(repository="default", paths=[str(photos)])))
        with pytest.raises(Unavailable):  # noqa: PT012  # the kill comes within the stream
            for event in client.add_space(pb.AddSpaceRequest(repository="default", space="new", model=model)):
                if event.progress.done >= 16:
                    server.kill()
        assert server.wait(WAIT_S) == -signal.SIGKILL
    with process(home) as (_, address), IndexerClient(address) as client:
        interrupted = {each.name: each for each in client.describe("default").repositories[0].spaces}["new"]
        assert interrupted.state == "filling"
        assert 16 <= interrupted.images < COUNT
        assert add(client, "new", model) == COUNT - interrupted.images
        assert add(client, "whole", model) == COUNT  # undisturbed
    assert len(np.unique(vectors(home, "whole").round(3), axis=0)) == len(kinds)
    np.testing.assert_allclose(vectors(home, "new"), vectors(home, "whole"), atol=1e-5)
