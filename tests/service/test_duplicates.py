"""Images that are one image: copies, resized and re-encoded ones; and what must not pass for such."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import images
from tests.clip_checkpoints import sample_images
from tests.indexing import Indexer
from xcomp_indexer.admin.duplicates import Comparison, Group
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import InvalidRequest


def report(indexer: Indexer, **wishes: object) -> tuple[list[tuple[bool, list[str]]], pb.DuplicatesSummary]:
    """Returns the groups, each with the names of its files in their order, and the summary."""
    events = list(indexer.client.duplicates(pb.DuplicatesRequest(repository="default", **wishes)))  # type: ignore[arg-type]
    groups = [event.group for event in events if event.HasField("group")]
    for group in groups:
        assert group.images[0].similarity == pytest.approx(1, abs=1e-5)
        assert max(each.similarity for each in group.images) <= 1
        assert group.images[0].distance == 0
        assert group.count == len(group.images)
    named = [(group.copies, [Path(each.image.path).name for each in group.images]) for group in groups]
    return sorted(named), events[-1].summary


@pytest.fixture
def album(indexer: Indexer, photos: Path) -> Path:
    """A photograph as it is, copied, at half the size and badly encoded; one turned and cropped; and two others."""
    photos.mkdir(exist_ok=True)
    cat = sample_images()[1]
    cat.save(photos / "cat.jpg", quality=92)
    (photos / "copy.jpg").write_bytes((photos / "cat.jpg").read_bytes())
    cat.resize((cat.width // 2, cat.height // 2)).save(photos / "half.webp")
    cat.save(photos / "rough.jpg", quality=30)
    cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "mirrored.jpg")
    cat.crop((60, 40, cat.width, cat.height)).save(photos / "crop.jpg")
    sample_images()[2].save(photos / "coffee.jpg")
    sample_images()[0].save(photos / "astronaut.jpg")
    (photos / "again.jpg").write_bytes((photos / "coffee.jpg").read_bytes())
    indexer.ingest(photos)
    return photos


def test_copies_and_near_copies_are_distinguished_from_similar_images(indexer: Indexer, album: Path) -> None:
    groups, summary = report(indexer)
    assert groups == [
        (False, ["cat.jpg", "copy.jpg", "rough.jpg", "half.webp"]),
        (True, ["again.jpg", "coffee.jpg"]),
    ]
    assert (summary.images, summary.groups, summary.unread) == (9, 2, 0)


def test_a_missing_file_is_not_compared_by_its_vector(indexer: Indexer, album: Path) -> None:
    (album / "half.webp").unlink()
    groups, summary = report(indexer)
    assert (False, ["cat.jpg", "copy.jpg", "rough.jpg"]) in groups
    assert summary.unread == 1


def test_images_that_change_or_vanish_during_the_comparison_are_in_no_group(
    indexer: Indexer, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = indexer.images()
    compared = Comparison._groups

    def later(comparison: Comparison, by_content: dict[str, list[str]]) -> Iterator[Group]:
        (album / "rough.jpg").write_bytes(images.jpeg())
        indexer.ingest(album)
        indexer.client.delete(pb.DeleteRequest(repository="default", ids=[ids["half.webp"], ids["again.jpg"]]))
        return compared(comparison, by_content)

    monkeypatch.setattr(Comparison, "_groups", later)
    groups, summary = report(indexer)
    assert groups == [(True, ["cat.jpg", "copy.jpg"])]
    assert summary.groups == 1


def test_restricted_images_are_left_out_unless_allowed(indexer: Indexer, album: Path) -> None:
    (album / "again.jpg.json").write_text('{"internal": true}')
    indexer.ingest(album)
    assert len(report(indexer)[0]) == 1
    assert len(report(indexer, allow_restricted=True)[0]) == 2


def test_plain_colours_are_duplicates_only_if_the_colour_is_equal(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {"red.png": (220, 20, 20), "red.jpg": (220, 20, 20), "dark.png": (150, 10, 10)})
    indexer.ingest(photos)
    assert report(indexer)[0] == [(False, ["red.jpg", "red.png"])]


def test_progress_reaches_the_total(indexer: Indexer, photos: Path) -> None:
    photos.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for at in range(40):
        Image.fromarray(generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(photos / f"{at}.png")
    indexer.ingest(photos)
    events = list(indexer.client.duplicates(pb.DuplicatesRequest(repository="default")))
    steps = [(event.progress.done, event.progress.total) for event in events if event.HasField("progress")]
    assert steps[-1] == (40, 40)
    assert [event.WhichOneof("event") for event in events][-1] == "summary"


def test_a_threshold_that_is_no_cosine_is_refused(indexer: Indexer, photos: Path) -> None:
    indexer.client.create_repository(pb.CreateRepositoryRequest(name="default"))
    assert report(indexer)[1].images == 0
    with pytest.raises(InvalidRequest, match=r"^threshold: must be 0 to 1"):
        report(indexer, threshold=1.5)
