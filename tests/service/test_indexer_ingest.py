"""Ingest over gRPC: what is added, left alone, moved, removed, refused."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests import images
from tests.indexing import Indexer, counts, serving
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Denied, InvalidRequest

COLORS = {"red.jpg": images.RED, "sub/green.jpg": images.GREEN, "sub/blue.jpg": images.BLUE}


def test_ingest_streams_progress_and_ends_with_the_summary(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    (photos / "text.jpg").write_text("not an image")
    events = list(indexer.client.ingest(pb.IngestRequest(repository="default", paths=[str(photos)])))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[-1] == "summary"
    assert set(kinds) == {"progress", "failure", "summary"}
    last = [event.progress for event in events if event.HasField("progress")][-1]
    assert (last.scanned, last.done, last.total) == (4, 4, 4)
    summary = events[-1].summary
    assert summary.repository == "default"
    assert set(summary.stages) == {"scan", "decode", "embed.color", "upsert"}
    assert counts(summary) == {"scanned": 4, "added": 3, "failed": 1}


def test_a_second_run_embeds_nothing_and_loads_no_model(home: Path, photos: Path) -> None:
    images.library(photos, COLORS)
    (photos / "text.jpg").write_text("not an image")
    with serving(home) as first:
        first.ingest(photos)
        assert first.loads == ["color:hsv"]
    with serving(home) as second:
        summary, failures = second.ingest(photos)
        assert counts(summary) == {"scanned": 4, "unchanged": 3, "failed": 1}
        assert failures == {"text.jpg": "not_an_image"}
        assert second.loads == []


def test_renames_and_copies_cost_no_forward_pass(home: Path, photos: Path) -> None:
    images.library(photos, COLORS)
    with serving(home) as first:
        first.ingest(photos)
    (photos / "red.jpg").rename(photos / "rouge.jpg")
    shutil.copy(photos / "sub" / "green.jpg", photos / "copy.jpg")
    with serving(home) as second:
        summary, _ = second.ingest(photos)
        assert counts(summary) == {"scanned": 4, "renamed": 1, "added": 1, "unchanged": 2}
        assert second.loads == []
        assert second.search("red", k=1) == ["rouge.jpg"]
        assert sorted(second.search("green", k=2)) == ["copy.jpg", "green.jpg"]


def test_a_renamed_folder_moves_its_images(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    (photos / "sub").rename(photos / "moved")
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 3, "renamed": 2, "unchanged": 1}
    assert indexer.search("blue", k=9, where=["path:moved/**"])[0] == "blue.jpg"
    assert indexer.search("blue", k=9, where=["path:sub/**"]) == []


def test_files_that_swap_their_contents_swap_their_vectors(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    red, blue = photos / "red.jpg", photos / "sub" / "blue.jpg"
    red.rename(photos / "t")
    blue.rename(red)
    (photos / "t").rename(blue)
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 3, "updated": 2, "unchanged": 1}
    assert indexer.search("red", k=1) == ["blue.jpg"]
    assert indexer.search("blue", k=1) == ["red.jpg"]


def test_contents_swapped_across_batches_get_the_right_vectors(indexer: Indexer, photos: Path) -> None:
    names = [f"{at:02}.jpg" for at in range(40)]
    images.library(photos, dict.fromkeys(names, images.GREEN))
    (photos / "00.jpg").write_bytes(images.jpeg(images.RED))
    (photos / "39.jpg").write_bytes(images.jpeg(images.BLUE))
    indexer.ingest(photos)
    contents = [(photos / name).read_bytes() for name in names]
    for name, content in zip(names, reversed(contents), strict=True):
        (photos / name).write_bytes(content)
        os.utime(photos / name, (1, 1))
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 40, "updated": 40}
    assert indexer.search("red", k=1) == ["39.jpg"]
    assert indexer.search("blue", k=1) == ["00.jpg"]


def test_a_touched_file_is_unchanged(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    before = indexer.embedder.images
    os.utime(photos / "red.jpg", (1, 1))
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 3, "unchanged": 3}
    assert indexer.embedder.images == before


def test_a_changed_sidecar_updates_the_metadata_alone(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    before = indexer.embedder.images
    sidecar = photos / "red.jpg.json"
    sidecar.write_text(json.dumps({"title": "港口", "tags": ["Harbour"], "license": "CC-BY"}))
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 3, "updated": 1, "unchanged": 2}
    assert indexer.embedder.images == before
    hit = indexer.hits("red", where=["tag=harbour and rights=cc-by"]).hits[0]
    assert hit.image.metadata["title"] == "港口"
    sidecar.unlink()
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 3, "updated": 1, "unchanged": 2}
    assert indexer.search("red", where=["tag=harbour"]) == []


def test_a_sidecar_that_cannot_be_used_leaves_the_image_as_it_was(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    (photos / "red.jpg.json").write_text('{"expires": "someday"}')
    summary, failures = indexer.ingest(photos, prune=True)
    assert failures == {"red.jpg": "sidecar"}
    assert counts(summary) == {"scanned": 3, "failed": 1, "unchanged": 2}
    assert indexer.search("red", k=1) == ["red.jpg"]


def test_deleted_files_leave_the_repository(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    (photos / "red.jpg").unlink()
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 2, "unchanged": 2, "removed": 1}
    assert set(indexer.images()) == {"green.jpg", "blue.jpg"}


def test_a_file_that_is_no_longer_an_image_is_removed_unless_pruning_is_off(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    (photos / "red.jpg").write_bytes(images.truncated())
    assert counts(indexer.ingest(photos, prune=False)[0]) == {"scanned": 3, "unchanged": 2, "failed": 1}
    assert "red.jpg" in indexer.images()
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 3, "unchanged": 2, "failed": 1, "removed": 1}
    assert "red.jpg" not in indexer.images()


def test_deletions_are_seen_only_under_the_paths_given(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    (photos / "red.jpg").unlink()
    (photos / "sub" / "blue.jpg").unlink()
    assert indexer.ingest(photos / "sub")[0].removed == 1
    assert set(indexer.images()) == {"red.jpg", "green.jpg"}


def test_a_suspicious_prune_is_refused_until_it_is_asked_for(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {f"{at}.jpg": images.RED for at in range(60)})
    indexer.ingest(photos)
    for at in range(30):
        (photos / f"{at}.jpg").unlink()
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 30, "unchanged": 30, "removable": 30}
    assert counts(indexer.ingest(photos, prune=False)[0]) == {"scanned": 30, "unchanged": 30}
    assert len(indexer.images()) == 60
    assert counts(indexer.ingest(photos, prune=True)[0]) == {"scanned": 30, "unchanged": 30, "removed": 30}
    assert len(indexer.images()) == 30


def test_a_root_that_is_suddenly_empty_loses_nothing_unasked(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    shutil.rmtree(photos)
    photos.mkdir()
    assert counts(indexer.ingest(photos)[0]) == {"removable": 3}
    assert len(indexer.images()) == 3
    assert counts(indexer.ingest(photos, prune=True)[0]) == {"removed": 3}


def test_an_unreadable_folder_loses_nothing(indexer: Indexer, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    listing = os.scandir

    def scandir(path: str) -> object:  # permissions do not bind the superuser, under whom the tests may run
        if path.endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    summary, failures = indexer.ingest(photos, prune=True)
    assert failures == {"sub": "permission"}
    assert counts(summary) == {"scanned": 1, "unchanged": 1, "failed": 1}
    assert len(indexer.images()) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_an_unreadable_file_is_named_and_kept(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    indexer.ingest(photos)
    (photos / "red.jpg").write_bytes(images.jpeg(images.YELLOW))
    (photos / "red.jpg").chmod(0)
    assert indexer.ingest(photos)[1] == {"red.jpg": "permission"}
    assert "red.jpg" in indexer.images()


def test_broken_files_are_named_and_skipped(indexer: Indexer, photos: Path) -> None:
    for name, (make, _) in images.BROKEN.items():
        (photos / name).write_bytes(make())
    (photos / "red.jpg").write_bytes(images.jpeg())
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    summary, failures = indexer.ingest(photos)
    assert failures == {name: reason for name, (_, reason) in images.BROKEN.items()} | {"gone.jpg": "vanished"}
    assert (summary.added, summary.failed) == (1, len(failures))
    last = indexer.client.describe("default").repositories[0].last_ingest
    assert last["failed"] == len(failures)


def test_every_kind_of_image_is_indexed(indexer: Indexer, photos: Path) -> None:
    for name, make in images.READABLE.items():
        (photos / name).write_bytes(make())
    summary, failures = indexer.ingest(photos)
    assert (summary.added, failures) == (len(images.READABLE), {})


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: (folder / "notes.txt").write_text("x")])
def test_a_folder_without_images_is_an_empty_repository(indexer: Indexer, photos: Path, make: object) -> None:
    make(photos)  # type: ignore[operator]
    assert counts(indexer.ingest(photos)[0]) == {}
    assert indexer.search("red") == []


def test_a_single_image_is_enough(indexer: Indexer, photos: Path) -> None:
    (photos / "scan.dat").write_bytes(images.jpeg())
    assert counts(indexer.ingest(photos / "scan.dat")[0]) == {"scanned": 1, "added": 1}
    hit = indexer.hits("red").hits[0]
    assert (hit.image.width, hit.image.height, hit.confidence >= 0) == (96, 64, True)


def test_names_that_are_not_utf8_are_indexed_found_and_fetched(indexer: Indexer, photos: Path) -> None:
    with open(os.path.join(os.fsencode(photos), b"caf\xe9 100%.jpg"), "wb") as file:  # noqa: PTH118
        file.write(images.jpeg())
    with open(os.path.join(os.fsencode(photos), b"bad\xe9.jpg"), "wb") as file:  # noqa: PTH118
        file.write(b"not an image")
    summary, failures = indexer.ingest(photos)
    assert (summary.added, failures) == (1, {"bad%E9.jpg": "not_an_image"})
    assert indexer.search("red") == ["caf%E9 100%25.jpg"]
    image_id = indexer.images()["caf%E9 100%25.jpg"]
    assert indexer.client.fetch(pb.FetchRequest(repository="default", image_id=image_id))[0].width == 96
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 2, "unchanged": 1, "failed": 1}


@pytest.mark.parametrize("path", ["missing", "red.jpg/below", "x" * 300])
def test_a_path_that_is_not_there_is_named(indexer: Indexer, photos: Path, path: str) -> None:
    images.library(photos, COLORS)
    with pytest.raises(InvalidRequest, match=r"^paths: "):
        indexer.ingest(photos / path)


@pytest.mark.parametrize("paths", [[], [""], ["relative/folder"], ["/a\0b"]])
def test_invalid_paths_are_refused(indexer: Indexer, paths: list[str]) -> None:
    with pytest.raises(InvalidRequest, match=r"^paths: "):
        indexer.ingest(*paths)


def test_a_dry_run_changes_nothing(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    assert counts(indexer.ingest(photos, dry_run=True)[0]) == {"scanned": 3, "added": 3}
    assert list(indexer.client.list_repositories()) == []
    assert indexer.loads == []
    indexer.ingest(photos)
    (photos / "red.jpg").unlink()
    (photos / "new.jpg").write_bytes(images.jpeg(images.YELLOW))
    summary = indexer.ingest(photos, dry_run=True)[0]
    assert counts(summary) == {"scanned": 3, "added": 1, "unchanged": 2, "removed": 1}
    assert set(indexer.images()) == {"red.jpg", "green.jpg", "blue.jpg"}


def test_excluded_files_stay_out(indexer: Indexer, photos: Path) -> None:
    images.library(photos, COLORS)
    assert counts(indexer.ingest(photos, exclude=["sub"])[0]) == {"scanned": 1, "added": 1}


def test_paths_outside_the_allowed_roots_are_denied(home: Path, photos: Path, tmp_path: Path) -> None:
    images.library(photos, COLORS)
    images.library(tmp_path / "secret", {"a.jpg": images.YELLOW})
    (photos / "out").symlink_to(tmp_path / "secret")
    (photos / "out.jpg").symlink_to(tmp_path / "secret" / "a.jpg")
    with serving(home, roots=[photos]) as indexer:
        for path in (tmp_path, tmp_path / "secret", photos / "out", photos / ".." / "secret", f"{photos}x"):
            with pytest.raises(Denied, match="--allow-root"):
                indexer.ingest(path)
        summary, failures = indexer.ingest(photos)
        assert (summary.added, failures) == (3, {"out": "permission", "out.jpg": "permission"})
        assert indexer.ingest(photos / "sub")[0].unchanged == 2


def test_what_was_indexed_is_not_fetched_once_its_root_is_closed(home: Path, photos: Path, tmp_path: Path) -> None:
    images.library(photos, COLORS)
    with serving(home) as indexer:
        indexer.ingest(photos)
        image_id = indexer.images()["red.jpg"]
    with serving(home, roots=[tmp_path / "other"]) as indexer, pytest.raises(Denied):
        indexer.client.fetch(pb.FetchRequest(repository="default", image_id=image_id))


def test_places_can_be_filtered_by_and_are_in_no_answer(indexer: Indexer, photos: Path) -> None:
    (photos / "berlin.jpg").write_bytes(images.located((52, 30, 59), "N", (13, 22, 30), "E"))
    (photos / "nowhere.jpg").write_bytes(images.jpeg())
    indexer.ingest(photos)
    assert indexer.search("red", where=["gps.lat>=52.3 and gps.lat<52.7 and gps.lon>13.1"]) == ["berlin.jpg"]
    assert indexer.search("red", where=["gps.lat<0"]) == []
    for message in (indexer.hits("red"), indexer.client.list_images(pb.ListRequest(repository="default"))):
        assert "gps" not in str(message)
        assert "52.5" not in str(message)


def test_years_licences_and_dotted_keys_of_sidecars_can_be_filtered_by(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {"old.jpg": images.RED, "new.jpg": images.GREEN})
    old = {"date": "1954", "license": "CC BY 4.0", "exif.iso": 100}
    (photos / "old.jpg.json").write_text(json.dumps(old))
    (photos / "new.jpg.json").write_text(json.dumps({"date": "1954-07-02"}))
    indexer.ingest(photos)

    def find(where: str) -> list[str]:
        return sorted(indexer.search("red", where=[where]))

    assert find("date=1954") == ["new.jpg", "old.jpg"]
    assert find("date<1955") == ["new.jpg", "old.jpg"]
    assert find("date=1954-07") == ["new.jpg"]
    assert find("date<1954-08") == ["new.jpg"]
    assert find("rights=cc-by") == find("meta.exif.iso=100") == ["old.jpg"]
