"""The failure log: a broken file is read once, named every time, counted, and tried again on request."""

import os
from pathlib import Path

import pytest

from tests import images
from tests.indexing import Indexer, counts, serving
from xcomp_indexer.images import decode
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import NotFound

REASONS = {name: reason for name, (_, reason) in images.BROKEN.items()}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in order."""
    names: list[str] = []
    read = decode.read

    def counted(path: str) -> bytes:
        names.append(Path(path).name)
        return read(path)

    monkeypatch.setattr(decode, "read", counted)
    return names


@pytest.fixture
def broken(photos: Path) -> Path:
    """A folder of one good image and one file of each kind of damage."""
    for name, (make, _) in images.BROKEN.items():
        (photos / name).write_bytes(make())
    (photos / "red.jpg").write_bytes(images.jpeg())
    return photos


def failures(indexer: Indexer) -> dict[str, int]:
    return dict(indexer.client.describe("default").repositories[0].failures)


def test_a_second_run_reads_no_broken_file_and_names_them_all(home: Path, broken: Path, opened: list[str]) -> None:
    with serving(home) as first:
        assert first.ingest(broken)[1] == REASONS
    opened.clear()
    with serving(home) as second:
        summary, said = second.ingest(broken)
        assert said == REASONS
        assert counts(summary) == {"scanned": len(REASONS) + 1, "unchanged": 1, "failed": len(REASONS)}
        assert second.ingest(broken, dry_run=True)[1] == REASONS
    assert opened == []


def test_failures_are_counted_by_class_and_are_no_images(indexer: Indexer, broken: Path) -> None:
    indexer.ingest(broken)
    assert failures(indexer) == {"truncated": 2, "not_an_image": 2, "empty": 1, "too_large": 1}
    assert indexer.client.describe("default").repositories[0].images == 1
    assert set(indexer.images()) == {"red.jpg"}
    assert indexer.search("red", k=9) == ["red.jpg"]
    assert indexer.client.delete_repository("default") == 1


def test_a_failure_can_be_neither_fetched_nor_deleted_as_an_image(indexer: Indexer, broken: Path) -> None:
    indexer.ingest(broken)
    points = indexer.library.get("default").store.scan(fields=["failure"])
    failed = [point.id for point in points if point.payload]
    assert len(failed) == len(REASONS)
    assert indexer.client.delete(pb.DeleteRequest(repository="default", ids=failed)).deleted == 0
    with pytest.raises(NotFound):
        indexer.client.fetch(pb.FetchRequest(repository="default", image_id=failed[0]))
    assert sum(failures(indexer).values()) == len(REASONS)


def test_a_repaired_file_is_indexed_and_leaves_the_failure_log(indexer: Indexer, broken: Path) -> None:
    indexer.ingest(broken)
    (broken / "text.jpg").write_bytes(images.jpeg(images.BLUE))
    summary, said = indexer.ingest(broken)
    assert (summary.added, "text.jpg" in said) == (1, False)
    assert failures(indexer)["not_an_image"] == 1
    assert indexer.search("blue", k=1) == ["text.jpg"]


def test_a_removed_broken_file_leaves_the_failure_log(indexer: Indexer, broken: Path) -> None:
    indexer.ingest(broken)
    (broken / "empty.jpg").unlink()
    indexer.ingest(broken)
    assert "empty" not in failures(indexer)


def test_the_failure_log_keeps_files_elsewhere_and_in_unreadable_folders(
    indexer: Indexer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.library(photos, {"here/red.jpg": images.RED, "there/blue.jpg": images.BLUE})
    for folder in ("here", "there"):
        (photos / folder / "bad.jpg").write_bytes(b"not an image")
    indexer.ingest(photos)
    (photos / "there" / "bad.jpg").unlink()
    indexer.ingest(photos / "here")
    assert failures(indexer) == {"not_an_image": 2}
    listing = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("there"):
            raise PermissionError(13, "Permission denied", path)
        return listing(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        indexer.ingest(photos)
    assert failures(indexer) == {"not_an_image": 2, "permission": 1}
    indexer.ingest(photos)
    assert failures(indexer) == {"not_an_image": 1}


def test_files_with_failures_outside_the_file_are_read_every_time(
    indexer: Indexer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.library(photos, {"red.jpg": images.RED})
    reading = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.suffix == ".jpg":
            raise PermissionError(13, "Permission denied", str(path))
        return reading(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert indexer.ingest(photos)[1] == {"red.jpg": "permission"}
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 1, "added": 1}
    assert failures(indexer) == {}


def test_an_image_that_broke_and_was_kept_is_removed_by_a_later_run(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {"red.jpg": images.RED, "blue.jpg": images.BLUE})
    indexer.ingest(photos)
    (photos / "red.jpg").write_bytes(images.truncated())
    indexer.ingest(photos, prune=False)
    assert "red.jpg" in indexer.images()
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 2, "unchanged": 1, "failed": 1, "removed": 1}
    assert set(indexer.images()) == {"blue.jpg"}
    assert indexer.ingest(photos)[1] == {"red.jpg": "truncated"}


def test_a_retry_reads_the_failed_files_and_no_others(indexer: Indexer, broken: Path, opened: list[str]) -> None:
    indexer.ingest(broken)
    (broken / "new.jpg").write_bytes(images.jpeg(images.GREEN))
    (broken / "red.jpg").unlink()
    stat = (broken / "text.jpg").stat()
    (broken / "text.jpg").write_bytes(images.jpeg(images.BLUE)[: stat.st_size].ljust(stat.st_size))
    os.utime(broken / "text.jpg", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    opened.clear()
    summary, said = indexer.ingest(broken, retry_failed=True)
    assert sorted(opened) == sorted(REASONS)
    assert counts(summary) == {"scanned": len(REASONS), "failed": len(REASONS)}
    assert said == REASONS | {"text.jpg": "truncated"}
    assert failures(indexer)["truncated"] == 3
    assert set(indexer.images()) == {"red.jpg"}


def test_a_retry_of_a_repository_that_is_not_there_makes_none(indexer: Indexer, photos: Path) -> None:
    with pytest.raises(NotFound):
        indexer.ingest(photos, retry_failed=True)
    assert list(indexer.client.list_repositories()) == []


def test_more_failures_than_a_batch_are_kept(indexer: Indexer, photos: Path, opened: list[str]) -> None:
    for at in range(230):
        (photos / f"{at}.jpg").write_bytes(b"not an image %d" % at)
    indexer.ingest(photos)
    opened.clear()
    assert indexer.ingest(photos)[0].failed == 230
    assert opened == []
    assert failures(indexer) == {"not_an_image": 230}


def test_names_that_are_not_utf8_are_remembered(indexer: Indexer, photos: Path, opened: list[str]) -> None:
    with open(os.path.join(os.fsencode(photos), b"bad\xe9.jpg"), "wb") as file:  # noqa: PTH118
        file.write(b"not an image")
    indexer.ingest(photos)
    opened.clear()
    assert indexer.ingest(photos)[1] == {"bad%E9.jpg": "not_an_image"}
    assert opened == []
