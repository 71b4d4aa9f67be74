"""The walk over a library's folders."""

import os
from pathlib import Path

import pytest

from xcomp_indexer.ingest.scan import Entry, Scan, scan, walk


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(folder: Path, **options: object) -> list[str]:
    entries = scan([str(folder)], **options).entries  # type: ignore[arg-type]
    return [os.path.relpath(entry.path, folder) for entry in entries]


def test_scan_takes_images_by_suffix_in_the_order_of_names(photos: Path) -> None:
    touch(photos, "b.JPG", "a.png", "notes.txt", "sub/c.heic", "README")
    assert names(photos) == ["a.png", "b.JPG", "sub/c.heic"]


def test_scan_leaves_out_hidden_and_foreign_folders(photos: Path) -> None:
    touch(photos, ".hidden.jpg", ".cache/a.jpg", "@eaDir/b.jpg", "node_modules/c.jpg", "$RECYCLE.BIN/d.jpg", "e.jpg")
    assert names(photos) == ["e.jpg"]


@pytest.mark.parametrize("glob", ["raw", "raw/", "raw/*", "*.tmp.jpg"])
def test_scan_leaves_out_what_is_excluded(photos: Path, glob: str) -> None:
    touch(photos, "raw/a.tmp.jpg", "b.jpg")
    assert names(photos, exclude=[glob]) == ["b.jpg"]


def test_scan_takes_a_file_given_by_name_whatever_its_suffix(photos: Path) -> None:
    touch(photos, "scan.dat")
    path = photos / "scan.dat"
    status = path.stat()
    assert scan([str(path)]).entries == [Entry(str(path), str(photos), 1, status.st_mtime_ns)]


def test_scan_finds_a_path_under_two_roots_once(photos: Path) -> None:
    touch(photos, "sub/a.jpg")
    entries = scan([str(photos), str(photos / "sub"), str(photos / "sub" / "a.jpg")]).entries
    assert [(entry.path, entry.root) for entry in entries] == [(str(photos / "sub" / "a.jpg"), str(photos))]


def test_scan_ends_in_a_loop_of_links_and_prefers_real_folders(photos: Path) -> None:
    touch(photos, "z/a.jpg")
    (photos / "a_link").symlink_to(photos / "z")
    (photos / "z" / "up").symlink_to(photos)
    assert names(photos) == ["z/a.jpg"]


def test_scan_names_a_link_to_nowhere_and_goes_on(photos: Path) -> None:
    touch(photos, "b.jpg")
    (photos / "a.jpg").symlink_to(photos / "gone.jpg")
    found = scan([str(photos)])
    assert [Path(entry.path).name for entry in found.entries] == ["b.jpg"]
    assert [(Path(path).name, type(error)) for path, error in found.unreadable] == [("a.jpg", FileNotFoundError)]


def test_scan_names_a_folder_that_cannot_be_listed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(photos, "locked/a.jpg", "open/b.jpg")
    listing = os.scandir

    def scandir(path: str) -> object:  # permissions do not bind the superuser, under whom the tests may run
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = scan([str(photos)])
    assert [Path(entry.path).name for entry in found.entries] == ["b.jpg"]
    assert [path for path, _ in found.unreadable] == [str(photos / "locked")]


def test_scan_keeps_names_that_are_not_utf8(photos: Path) -> None:
    path = os.path.join(os.fsencode(photos), b"caf\xe9.jpg")  # noqa: PTH118
    with open(path, "wb"):
        pass
    assert [os.fsencode(entry.path) for entry in scan([str(photos)]).entries] == [path]


def test_links_lead_only_where_files_may_be_read(photos: Path, tmp_path: Path) -> None:
    touch(tmp_path, "secret/a.jpg", "secret/note.json")
    touch(photos, "mine.jpg")
    (photos / "folder").symlink_to(tmp_path / "secret")
    (photos / "file.jpg").symlink_to(tmp_path / "secret" / "a.jpg")
    (photos / "mine.jpg.json").symlink_to(tmp_path / "secret" / "note.json")
    found = scan([str(photos)], within=[photos.resolve()])
    assert [(Path(entry.path).name, entry.sidecar_mtime_ns) for entry in found.entries] == [("mine.jpg", 0)]
    assert sorted(Path(path).name for path, _ in found.unreadable) == ["file.jpg", "folder"]
    assert {type(error) for _, error in found.unreadable} == {PermissionError}


def test_links_within_the_folders_that_may_be_read_are_followed(photos: Path) -> None:
    touch(photos, "real/a.jpg")
    (photos / "real" / "b.jpg").symlink_to(photos / "real" / "a.jpg")
    assert names(photos, within=[photos.resolve()]) == ["real/a.jpg", "real/b.jpg"]


def test_scan_returns_the_time_of_a_sidecar(photos: Path) -> None:
    touch(photos, "a.jpg", "a.jpg.json", "b.jpg")
    os.utime(photos / "a.jpg.json", ns=(5, 5))
    assert [entry.sidecar_mtime_ns for entry in scan([str(photos)]).entries] == [5, 0]
    assert scan([str(photos / "a.jpg")]).entries[0].sidecar_mtime_ns == 5


def test_a_sidecar_that_is_not_a_file_is_ignored(photos: Path) -> None:
    touch(photos, "a.jpg", "b.jpg")
    os.mkfifo(photos / "a.jpg.json")
    (photos / "b.jpg.json").symlink_to(photos / "gone.json")
    found = scan([str(photos)])
    assert [entry.sidecar_mtime_ns for entry in found.entries] == [0, 0]
    assert not found.unreadable


def test_a_pipe_named_like_an_image_is_skipped_and_reported_if_given_by_name(photos: Path) -> None:
    os.mkfifo(photos / "a.jpg")
    (named,) = scan([str(photos / "a.jpg")]).unreadable
    assert (named[0], named[1].strerror) == (str(photos / "a.jpg"), "neither a file nor a folder")
    assert scan([str(photos)]) == Scan()
    assert scan([str(photos / "a.jpg")]).entries == []


@pytest.mark.parametrize("path", ["missing", "a.jpg/below"])
def test_scan_raises_for_a_path_that_is_not_there(photos: Path, path: str) -> None:
    touch(photos, "a.jpg")
    with pytest.raises(OSError, match=path):
        scan([str(photos / path)])


def test_walk_yields_a_piece_for_each_folder_and_several_for_a_large_one(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(photos, "a/1.jpg", "b/2.jpg", "b/3.jpg", "b/4.jpg")
    monkeypatch.setattr("xcomp_indexer.ingest.scan._PIECE", 2)
    assert [len(piece.entries) for piece in walk([str(photos)])] == [0, 1, 2, 1]


def test_a_file_given_by_name_is_found_once_wherever_it_is_named(photos: Path) -> None:
    touch(photos, "a.jpg", "b.dat")
    a, b = str(photos / "a.jpg"), str(photos / "b.dat")
    for order in ([a, b, str(photos)], [str(photos), b, a], [a, a, b, b]):
        assert sorted(entry.path for entry in scan(order).entries) == [a, b]


def test_an_excluded_sidecar_counts_all_the_same(photos: Path) -> None:
    touch(photos, "a.jpg", "a.jpg.json")
    assert scan([str(photos)], exclude=["*.json"]).entries[0].sidecar_mtime_ns > 0


def test_a_change_of_any_sidecar_is_seen(photos: Path) -> None:
    touch(photos, "a.jpg", "a.xmp", "a.jpg.supplemental-metadata.json")
    before = scan([str(photos)]).entries[0]
    assert [Path(file).name for file in before.sidecars] == ["a.jpg.supplemental-metadata.json", "a.xmp"]
    assert scan([str(photos / "a.jpg")]).entries[0] == before._replace(root=str(photos))
    os.utime(photos / "a.xmp", ns=(5, 5))
    assert scan([str(photos)]).entries[0].sidecar_mtime_ns != before.sidecar_mtime_ns


def test_a_folder_with_brackets_is_left_out_by_its_name(photos: Path) -> None:
    touch(photos, "2019 [best of]/a.jpg", "b.jpg")
    assert names(photos, exclude=["2019 [best of]"]) == ["b.jpg"]
