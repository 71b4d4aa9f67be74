"""Uploads over gRPC: bytes that the server cannot see become images, content that it knows is not sent again."""

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from tests import images
from tests.indexing import Indexer, counts, serving
from xcomp_indexer.images.decode import MAX_BYTES
from xcomp_indexer.ingest.upload_dir import FOLDER
from xcomp_indexer.store import Point
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import Cancelled, Conflict, Denied, InvalidRequest, Unavailable
from xcomp_protos.server import interceptor

RED = images.jpeg(images.RED)


def header(content: bytes, name: str = "trips/red.jpg", **more: object) -> pb.UploadHeader:
    fields = {"size_bytes": len(content), "content_hash": hashlib.blake2b(content, digest_size=16).hexdigest()}
    return pb.UploadHeader(name=name, **{"repository": "default", **fields, **more})  # type: ignore[arg-type]  # a table


def upload(indexer: Indexer, content: bytes, name: str = "trips/red.jpg", **more: object) -> pb.UploadResponse:
    pieces = [content[at : at + 1000] for at in range(0, len(content), 1000)]
    return indexer.client.upload(header(content, name, **more), pieces)


def kept(home: Path) -> list[str]:
    """The files below the folder of uploads."""
    folder = home.parent / FOLDER
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def left_in_the_end(home: Path) -> list[str]:
    """The same, once the server has noticed that the caller went away."""
    for _ in range(600):
        if not kept(home):
            break
        time.sleep(0.05)
    return kept(home)


def test_an_upload_waits_for_no_other_repository(indexer: Indexer) -> None:
    upload(indexer, RED)
    done: list[pb.UploadResponse] = []
    with indexer.library.get("default").writing:
        waiting = threading.Thread(target=upload, args=(indexer, images.jpeg(images.BLUE)))
        waiting.start()
        time.sleep(0.2)
        other = threading.Thread(target=lambda: done.append(upload(indexer, RED, repository="other")))
        other.start()
        other.join(60)
        assert done
        assert waiting.is_alive()
    waiting.join(60)
    assert not waiting.is_alive()


def test_an_upload_is_found_filtered_and_fetched(home: Path, tmp_path: Path) -> None:
    with serving(home, roots=[tmp_path / "elsewhere"]) as indexer:
        answer = upload(indexer, RED)
        upload(indexer, images.jpeg(images.BLUE), name="blue.jpg")
        assert (answer.known, answer.HasField("failure")) == (False, False)
        hit = indexer.hits("red", k=1).hits[0]
        assert (hit.image.id, hit.image.metadata["name"]) == (answer.image_id, "trips/red.jpg")
        for where in (
            "path:trips/**",
            "path:trips/red.jpg",
            "path:**/*.jpg and path:trips",
            'meta.name="trips/red.jpg"',
        ):
            assert indexer.search("red", k=9, where=[where]) == ["red.jpg"]
        request = pb.FetchRequest(repository="default", image_id=answer.image_id, originals=True)
        assert indexer.client.fetch(request)[1] == RED


def test_a_header_alone_asks_whether_the_content_is_needed(indexer: Indexer, home: Path) -> None:
    assert indexer.client.upload(header(RED)) == pb.UploadResponse()
    assert kept(home) == []
    image_id = upload(indexer, RED).image_id
    assert indexer.client.upload(header(RED, name="other.jpg")) == pb.UploadResponse(image_id=image_id, known=True)
    assert upload(indexer, RED, name="third.jpg") == pb.UploadResponse(image_id=image_id, known=True)
    assert indexer.embedder.images == 1
    assert kept(home) == ["red.jpg"]


def test_content_that_was_indexed_need_not_be_uploaded(indexer: Indexer, photos: Path, home: Path) -> None:
    (photos / "a.jpg").write_bytes(RED)
    indexer.ingest(photos)
    answer = indexer.client.upload(header(RED))
    assert (answer.image_id, answer.known) == (indexer.images()["a.jpg"], True)
    assert kept(home) == []


def test_a_sidecar_travels_with_its_file_and_may_change_later(indexer: Indexer, home: Path) -> None:
    upload(indexer, RED, sidecar=b'{"license": "CC-BY", "internal": true}')
    assert indexer.search("red") == []
    assert indexer.search("red", where=["rights=cc-by"], allow_restricted=True) == ["red.jpg"]
    changed = header(RED, name="elsewhere.jpg", sidecar=b'{"license": "CC0"}')
    assert indexer.client.upload(changed).updated
    assert not indexer.client.upload(changed).updated
    assert indexer.search("red", where=["rights=cc0 and path:elsewhere.jpg"]) == ["red.jpg"]
    assert indexer.client.upload(header(RED, sidecar=b'{"expires": "someday"}')).failure.reason == "sidecar"
    copy = indexer.client.upload(header(RED, name="copies/copy.jpg", sidecar=b"[1]")).failure
    assert (copy.path, copy.reason) == ("copies/copy.jpg", "sidecar")
    assert "copy.jpg.json does not hold a JSON object" in copy.message
    assert indexer.search("red", where=["rights=cc0"]) == ["red.jpg"]
    assert not indexer.client.upload(header(RED)).updated  # the sidecar is no longer its own
    assert indexer.client.upload(header(RED, name="elsewhere.jpg")).updated
    assert indexer.search("red", where=["rights=cc0"]) == []
    assert kept(home) == ["red.jpg"]
    assert indexer.embedder.images == 1


def test_a_copy_without_a_sidecar_takes_nothing_from_what_is_known(indexer: Indexer) -> None:
    first = upload(indexer, RED)
    assert indexer.client.upload(header(RED, name="told.jpg", sidecar=b'{"internal": true}')).updated
    for name in ("trips/red.jpg", "copies/red.jpg"):
        copy = indexer.client.upload(header(RED, name=name))
        assert (copy.image_id, copy.known, copy.updated) == (first.image_id, True, False)
    assert indexer.search("red") == []


def test_a_sidecar_whose_upload_was_cut_short_is_taken_the_next_time(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(indexer, RED)

    def cut(points: Sequence[Point]) -> None:
        raise Unavailable("the store is gone")

    told = header(RED, sidecar=b'{"internal": true}')
    with monkeypatch.context() as broken:
        broken.setattr(indexer.library.get("default").store, "upsert", cut)
        with pytest.raises(Unavailable):
            indexer.client.upload(told)
    assert indexer.client.upload(told).updated
    assert indexer.search("red") == []


def test_an_upload_that_was_imported_is_known_and_becomes_the_repositorys_own_when_it_changes(
    indexer: Indexer, home: Path
) -> None:
    upload(indexer, RED, sidecar=b'{"license": "CC-BY"}')
    indexer.client.import_("copy", indexer.client.export("default"))
    ((name, before),) = indexer.images("copy").items()
    same = indexer.client.upload(header(RED, repository="copy", sidecar=b'{"license": "CC-BY"}'))
    assert (same.image_id, same.known, same.updated) == (before, True, False)
    changed = upload(indexer, RED, repository="copy", sidecar=b'{"license": "CC0"}')
    assert (changed.known, indexer.images("copy")) == (False, {name: changed.image_id})
    assert indexer.images("copy", where=["rights=cc0"]) == {name: changed.image_id}
    assert indexer.search("red", where=["rights=cc-by"]) == ["red.jpg"]  # where it came from it stays
    assert kept(home) == ["red.jpg", "red.jpg", "red.jpg.json", "red.jpg.json"]


@pytest.mark.parametrize("kind", sorted(images.BROKEN))
def test_a_file_that_is_not_an_image_is_reported_and_not_kept(indexer: Indexer, home: Path, kind: str) -> None:
    make, reason = images.BROKEN[kind]
    indexer.client.create_repository(pb.CreateRepositoryRequest(name="default"))
    answer = upload(indexer, make(), name=kind)
    assert (answer.failure.path, answer.failure.reason, answer.image_id) == (kind, reason, "")
    assert answer.failure.message
    assert kept(home) == []
    assert indexer.images() == {}


def test_what_is_too_large_is_refused_before_it_is_sent(indexer: Indexer) -> None:
    answer = indexer.client.upload(header(RED, size_bytes=MAX_BYTES + 1))
    assert answer.failure.reason == "too_large"
    answer = indexer.client.upload(header(RED, sidecar=b" " * (256 * 1024 + 1)))
    assert answer.failure.reason == "sidecar"


SENSELESS = {
    "too few bytes": (header(RED, size_bytes=len(RED) + 1), "size_bytes"),
    "too many bytes": (header(RED, size_bytes=len(RED) - 1), "size_bytes"),
    "other bytes": (header(RED, content_hash="0" * 32), "content_hash"),
    "no hash": (header(RED, content_hash="../../etc"), "content_hash"),
    "no name": (header(RED, name="\n"), "name"),
    "a name of no file": (header(RED, name="/"), "name"),
    "no repository": (pb.UploadHeader(name="a", size_bytes=1, content_hash="0" * 32), "repository"),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_an_invalid_upload_is_refused_and_leaves_nothing(indexer: Indexer, home: Path, case: str) -> None:
    head, field = SENSELESS[case]
    with pytest.raises(InvalidRequest, match=f"^{field}"):
        indexer.client.upload(head, [RED])
    assert kept(home) == []


@pytest.mark.parametrize("parts", [[], [pb.UploadRequest(chunk=b"x")], [pb.UploadRequest(header=header(RED))] * 2])
def test_a_stream_is_a_header_and_then_chunks(indexer: Indexer, parts: list[pb.UploadRequest]) -> None:
    with grpc.insecure_channel(indexer.address) as channel, pytest.raises(grpc.RpcError) as caught:
        rpc.IndexerStub(channel).Upload(iter(parts))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("name", "file"),
    [("../../etc/passwd", "passwd"), ("..", "image"), ("a\0b\x1b.jpg", "a_b_.jpg"), ("港/口.jpg", "口.jpg"),
     ("x" * 500 + ".jpg", "x" * 196 + ".jpg"), ("C:\\photos\\a.jpg", "C:_photos_a.jpg")],
)  # fmt: skip
def test_a_name_leads_nowhere_but_into_the_folder_of_uploads(
    indexer: Indexer, home: Path, name: str, file: str
) -> None:
    before = sorted(home.parent.iterdir())
    image_id = upload(indexer, RED, name=name).image_id
    assert indexer.images() == {file: image_id}
    assert kept(home) == [file]
    assert sorted({*before, home.parent / FOLDER}) == sorted(home.parent.iterdir())


def test_an_upload_that_breaks_off_leaves_nothing(indexer: Indexer, home: Path) -> None:
    def broken() -> Iterator[pb.UploadRequest]:
        yield pb.UploadRequest(header=header(RED))
        yield pb.UploadRequest(chunk=RED[:100])
        call.cancel()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        yield pb.UploadRequest(chunk=RED[100:200])

    with grpc.insecure_channel(indexer.address) as channel:
        call = rpc.IndexerStub(channel).Upload.future(broken())
        with pytest.raises(grpc.FutureCancelledError):
            call.result(timeout=60)
    assert left_in_the_end(home) == []
    assert upload(indexer, RED).image_id


def test_an_upload_without_data_for_too_long_is_cancelled(
    indexer: Indexer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptor, "SILENT_S", 0.2)
    given_up = threading.Event()

    def silent() -> Iterable[bytes]:
        yield RED[:100]
        given_up.wait(60)

    with pytest.raises(Cancelled):
        indexer.client.upload(header(RED), silent())
    given_up.set()
    assert left_in_the_end(home) == []


def test_indexing_leaves_uploads_alone(indexer: Indexer, photos: Path, home: Path) -> None:
    upload(indexer, RED)
    images.library(photos, {"green.jpg": images.GREEN})
    assert counts(indexer.ingest(home.parent, prune=True)[0]) == {"scanned": 1, "added": 1}
    (photos / "copy.jpg").write_bytes(RED)
    assert counts(indexer.ingest(home.parent, prune=True)[0]) == {"scanned": 2, "added": 1, "unchanged": 1}
    assert set(indexer.images()) == {"red.jpg", "green.jpg", "copy.jpg"}
    assert indexer.embedder.images == 2
    with pytest.raises(Denied, match="holds uploads"):
        indexer.ingest(home.parent / FOLDER)


def test_uploads_go_with_their_images_and_with_their_repository(indexer: Indexer, home: Path) -> None:
    red = upload(indexer, RED).image_id
    upload(indexer, images.jpeg(images.BLUE), name="blue.jpg", sidecar=b"{}")
    assert kept(home) == ["blue.jpg", "blue.jpg.json", "red.jpg"]
    indexer.client.delete(pb.DeleteRequest(repository="default", ids=[red]))
    assert kept(home) == ["blue.jpg", "blue.jpg.json"]
    indexer.client.delete_repository("default")
    assert kept(home) == []


def test_a_lost_upload_is_needed_again(indexer: Indexer, home: Path) -> None:
    upload(indexer, RED)
    next((home.parent / FOLDER).rglob("red.jpg")).unlink()
    assert indexer.client.upload(header(RED)) == pb.UploadResponse()
    upload(indexer, RED, name="again.jpg")
    assert set(indexer.images()) == {"again.jpg"}


def test_a_full_disk_is_said_and_leaves_nothing(indexer: Indexer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(Exception, match=r"No space left on device.*free disk space"):
        upload(indexer, RED)
    assert kept(home) == []


def test_another_profile_is_refused(indexer: Indexer) -> None:
    upload(indexer, RED)
    with pytest.raises(Conflict, match="profile"):
        upload(indexer, images.jpeg(images.BLUE), profile="clip")
