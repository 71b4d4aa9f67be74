"""`xcomp index` with an indexer elsewhere: real uploads into a real indexer, which sees none of the files."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import images
from tests.indexing import Indexer, serving
from xcomp_cli.indexing import upload as uploading
from xcomp_cli.main import run
from xcomp_indexer.ingest.scan import Entry
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import InvalidRequest

COLORS = {"red.jpg": images.RED, "sub/green.jpg": images.GREEN, "sub/blue.jpg": images.BLUE}


@pytest.fixture
def elsewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Indexer]:
    """An indexer at host:port that may read no file of the tests'."""
    with serving(home, roots=[tmp_path / "theirs"]) as indexer:
        monkeypatch.setenv("XCOMP_INDEXER", indexer.address)
        yield indexer


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bytes were sent."""
    sent: list[str] = []
    upload = IndexerClient.upload

    def counted(client: IndexerClient, header: pb.UploadHeader, *chunks: Iterator[bytes]) -> pb.UploadResponse:
        sent.extend([header.name] * len(chunks))
        return upload(client, header, *chunks)

    monkeypatch.setattr(IndexerClient, "upload", counted)
    return sent


def indexed(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> dict[str, object]:
    """Runs `xcomp index` and returns its counts."""
    capsys.readouterr()
    assert run(["index", *map(str, arguments), "--json"]) == 0
    value: dict[str, object] = json.loads(capsys.readouterr().out)
    return {key: value[key] for key in ("scanned", "added", "updated", "unchanged", "failed")}


def counts(scanned: int, *, added: int = 0, updated: int = 0, unchanged: int = 0) -> dict[str, object]:
    return {"scanned": scanned, "added": added, "updated": updated, "unchanged": unchanged, "failed": []}


def test_only_unknown_content_is_sent(
    elsewhere: Indexer, photos: Path, chunks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    images.library(photos, COLORS)
    assert indexed(capsys, photos) == counts(3, added=3)
    assert sorted(chunks) == ["red.jpg", "sub/blue.jpg", "sub/green.jpg"]
    (photos / "red.jpg").rename(photos / "rouge.jpg")
    (photos / "new.jpg").write_bytes(images.jpeg(images.YELLOW))
    chunks.clear()
    assert indexed(capsys, photos) == counts(4, added=1, unchanged=3)
    assert chunks == ["new.jpg"]
    assert elsewhere.search("blue", k=1, where=["path:sub/**"]) == ["blue.jpg"]


def test_sidecars_go_along_and_changes_follow(
    elsewhere: Indexer, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.library(photos, COLORS)
    sidecar = photos / "red.jpg.json"
    sidecar.write_text('{"internal": true}')
    assert indexed(capsys, photos) == counts(3, added=3)
    assert "red.jpg" not in elsewhere.search("red", k=9)
    sidecar.write_text('{"license": "CC0"}')
    assert indexed(capsys, photos) == counts(3, updated=1, unchanged=2)
    assert elsewhere.search("red", where=["rights=cc0"]) == ["red.jpg"]
    sidecar.write_bytes(b" " * 300_000)
    failed = indexed(capsys, photos)["failed"]
    assert isinstance(failed, list)
    assert [each["reason"] for each in failed] == ["sidecar"]


def test_skipped_files_are_named_by_their_paths_here(
    elsewhere: Indexer, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.library(photos, COLORS)
    (photos / "text.jpg").write_text("no image")
    (photos / "empty.jpg").touch()
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    with open(os.path.join(os.fsencode(photos), b"bad\xe9.jpg"), "wb") as file:  # noqa: PTH118
        file.write(images.truncated())
    capsys.readouterr()
    assert run(["index", str(photos), "--json", "--strict"]) == 3
    value = json.loads(capsys.readouterr().out)
    assert {each["path"]: each["reason"] for each in value["failed"]} == {
        str(photos / "text.jpg"): "not_an_image",
        str(photos / "empty.jpg"): "empty",
        str(photos / "gone.jpg"): "vanished",
        str(photos / "bad�.jpg"): "truncated",
    }
    assert (value["scanned"], value["added"]) == (6, 3)


def test_an_image_of_many_chunks_arrives_whole(
    elsewhere: Indexer, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = images.jpeg() + os.urandom(5_000_000)  # decoders stop at the end of the image
    (photos / "large.jpg").write_bytes(content)
    assert indexed(capsys, photos / "large.jpg") == counts(1, added=1)
    image_id = elsewhere.images()["large.jpg"]
    request = pb.FetchRequest(repository="default", image_id=image_id, originals=True)
    assert elsewhere.client.fetch(request)[1] == content


def test_paths_of_the_server_and_of_this_machine_go_together(
    elsewhere: Indexer, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.library(tmp_path / "theirs", {"theirs.jpg": images.YELLOW})
    images.library(photos, COLORS)
    assert indexed(capsys, f"server:{tmp_path}/theirs", photos) == counts(4, added=4)
    assert set(elsewhere.images()) == {"theirs.jpg", "red.jpg", "green.jpg", "blue.jpg"}


def test_excluded_and_hidden_files_are_not_sent(
    elsewhere: Indexer, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.library(photos, {**COLORS, ".hidden.jpg": images.RED})
    assert indexed(capsys, photos, "--exclude", "sub") == counts(1, added=1)


@pytest.mark.parametrize("flag", ["--prune", "--dry-run", "--retry-failed"])
def test_flags_that_make_no_sense_for_uploads_are_refused(
    elsewhere: Indexer, photos: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["index", str(photos), flag]) == 2
    said = capsys.readouterr().err
    assert flag in said
    assert "server:/folder" in said


def test_a_file_that_changes_while_it_is_sent_is_named(
    elsewhere: Indexer, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images.library(photos, COLORS)
    sent = uploading._send_content

    def touched(client: IndexerClient, entry: Entry, offer: pb.UploadHeader) -> pb.UploadResponse:
        if entry.path.endswith("red.jpg"):
            Path(entry.path).write_bytes(images.jpeg(images.YELLOW))
        return sent(client, entry, offer)

    monkeypatch.setattr(uploading, "_send_content", touched)
    capsys.readouterr()
    assert run(["index", str(photos), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [(Path(each["path"]).name, each["reason"]) for each in value["failed"]] == [("red.jpg", "unreadable")]
    assert value["added"] == 2


def test_a_refusal_ends_the_command(elsewhere: Indexer, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images.library(photos, COLORS)
    assert run(["index", str(photos), "--repo", "no/name"]) == 2
    assert "no/name" in capsys.readouterr().err
    with pytest.raises(InvalidRequest):
        elsewhere.client.upload(pb.UploadHeader())
