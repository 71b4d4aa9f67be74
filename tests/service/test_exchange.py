"""Export and import: a repository goes through a file and comes back whole, under any name, into any store."""

import gzip
import hashlib
import json
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import images
from tests.fakes import CountingEmbedder
from tests.indexing import Indexer, counts, serving
from xcomp_cli.main import run
from xcomp_indexer.admin import export
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.store import Payload, Point
from xcomp_indexer.store.factory import open_stores
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound, XcompError

COLORS = {"red.jpg": images.RED, "sub/green.jpg": images.GREEN, "sub/blue.jpg": images.BLUE}


@pytest.fixture
def filled(indexer: Indexer, photos: Path) -> Indexer:
    """An indexer with three images and a file that is not an image."""
    images.library(photos, COLORS)
    (photos / "red.jpg.json").write_text('{"license": "CC-BY", "title": "红", "internal": true}')
    (photos / "text.jpg").write_text("not an image")
    indexer.ingest(photos)
    return indexer


def contents(library: RepositoryCatalog, name: str) -> list[tuple[Payload, dict[str, list[float]]]]:
    """Payloads and vectors of a repository, whatever the ids are."""
    points = library.get(name).store.scan(vectors=True)
    plain = [(point.payload, {space: vector.tolist() for space, vector in point.vectors.items()}) for point in points]
    return sorted(plain, key=lambda each: str(each[0]["path"]))


def lines(indexer: Indexer) -> list[bytes]:
    return b"".join(indexer.client.export("default")).splitlines(keepends=True)


def test_a_repository_comes_back_under_another_name_and_knows_its_files(filled: Indexer, photos: Path) -> None:
    made = filled.client.import_("copy", filled.client.export("default"))
    assert (made.name, made.profile, made.images, dict(made.failures)) == ("copy", "color", 3, {"not_an_image": 1})
    assert contents(filled.library, "copy") == contents(filled.library, "default")
    before = filled.embedder.images
    summary, failures = filled.ingest(photos, repository="copy")
    assert counts(summary) == {"scanned": 4, "unchanged": 3, "failed": 1}
    assert failures == {"text.jpg": "not_an_image"}
    assert filled.embedder.images == before
    assert set(filled.images("copy")) == {"red.jpg", "green.jpg", "blue.jpg"}


@pytest.mark.parametrize("address", ["edge", "memory:"])
def test_it_is_the_way_into_another_store(filled: Indexer, tmp_path: Path, address: str) -> None:
    stores = open_stores(f"edge:{tmp_path}/other" if address == "edge" else address, indexes={})
    library = RepositoryCatalog(stores, EmbedderCache(lambda _: CountingEmbedder()), default_profile="color")
    export.import_repository(
        library, "moved", export.ExportReader(export.export_repository(filled.library.get("default")))
    )
    assert library.models.names() == []
    for (payload, vectors), (known, before) in zip(
        contents(library, "moved"), contents(filled.library, "default"), strict=True
    ):
        assert payload == known
        assert vectors.keys() == before.keys()
        for space, vector in vectors.items():
            np.testing.assert_allclose(vector, before[space], atol=1e-6)
    back = export.export_repository(library.get("moved"))
    assert filled.client.import_("back", back).images == 3
    library.close()


def test_pieces_may_be_cut_anywhere(filled: Indexer) -> None:
    whole = b"".join(lines(filled))
    pieces = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    assert filled.client.import_("copy", pieces).images == 3


def test_the_file_is_what_the_documentation_says(filled: Indexer) -> None:
    head, *entries, foot = map(json.loads, lines(filled))
    assert (head["xcomp"], head["format"], head["name"], head["profile"]) == ("repository", 2, "default", "color")
    assert head["models"]["color"]["dimension"] == 12
    assert foot == {"points": 4}
    assert {frozenset(entry) for entry in entries} == {frozenset(("id", "payload", "vectors"))}
    assert sum("failure" in entry["payload"] and not entry["vectors"] for entry in entries) == 1


def changed(number: int, **keys: object) -> object:
    def change(said: list[bytes]) -> None:
        said[number] = json.dumps({**json.loads(said[number]), **keys}).encode() + b"\n"

    return change


DAMAGED = {
    "nothing": (lambda said: said.clear(), "line 1 "),
    "no head": (lambda said: said.pop(0), "line 1 is not the header"),
    "a newer format": (changed(0, format=3), "has format 3, this version reads up to 2: upgrade"),
    "an unknown profile": (changed(0, profile="sepia"), "line 1 names profile 'sepia'"),
    "no models": (changed(0, models={}), "line 1 names profile"),
    "a wrong dimension": (changed(0, models={"color": {"dimension": -1}}), "line 1 names profile"),
    "no foot": (lambda said: said.pop(), "ends after 4 points without its last line"),
    "a point is missing": (lambda said: said.pop(1), "ends the file after 4 points: 3 came"),
    "more behind the foot": (lambda said: said.append(said[1]), "line 6 ends the file"),
    "no json": (lambda said: said.__setitem__(2, b"{\n"), "line 3 is not JSON"),
    "a list": (lambda said: said.__setitem__(2, b"[]\n"), "line 3 is not a JSON object"),
    "no payload": (changed(2, payload=3), "line 3 has no payload"),
    "half a payload": (changed(2, payload={"path": "/a.jpg"}), "line 3 cannot be used"),
    "half a failure": (changed(2, payload={"failure": "empty"}), "line 3 cannot be used"),
    "no base64": (changed(1, vectors={"color": "…"}), "line 2 "),
    "a short vector": (changed(1, vectors={"color": "AAAAAA=="}), "shape|cannot be used"),
    "an unknown space": (changed(1, vectors={"fr": "AAAAAA=="}), "unknown space"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_refused_by_line_and_makes_nothing(indexer: Indexer, photos: Path, kind: str) -> None:
    images.library(photos, {**COLORS, "more.jpg": images.YELLOW})
    indexer.ingest(photos)
    said = lines(indexer)
    change, message = DAMAGED[kind]
    change(said)  # type: ignore[operator]  # a table of functions
    with pytest.raises(InvalidRequest, match=message):
        indexer.client.import_("copy", said)
    assert [each.name for each in indexer.client.list_repositories()] == ["default"]


def test_an_import_needs_a_name_that_is_free(filled: Indexer) -> None:
    with pytest.raises(Conflict, match="exists already"):
        filled.client.import_("default", filled.client.export("default"))
    with pytest.raises(InvalidRequest):
        filled.client.import_("no/name", filled.client.export("default"))
    with pytest.raises(NotFound):
        list(filled.client.export("nothing"))
    assert len(filled.images()) == 3


def test_nobody_sees_half_an_import(filled: Indexer) -> None:
    said = lines(filled)

    def watched() -> Iterator[bytes]:
        yield said[0]
        while not filled.library.exists("copy"):
            time.sleep(0.01)
        problem = {each.name: each.problem for each in filled.client.describe().repositories}
        assert problem == {"default": "", "copy": "repository 'copy' is being imported: wait until that has ended"}
        with pytest.raises(Conflict, match="being imported"):
            filled.client.delete_repository("copy")
        yield from said[1:]

    assert filled.client.import_("copy", watched()).images == 3


def test_an_import_that_breaks_off_makes_nothing(filled: Indexer) -> None:
    def broken() -> Iterator[bytes]:
        yield lines(filled)[0]
        raise OSError(5, "the disk broke")

    with pytest.raises(XcompError, match="iterating"):
        filled.client.import_("copy", broken())
    for _ in range(600):  # until the server has noticed
        try:
            assert filled.client.import_("copy", filled.client.export("default")).images == 3
            return
        except Conflict as error:
            if "being imported" not in str(error):
                raise
            time.sleep(0.05)
    pytest.fail("the import that broke off is still under way")


def test_memory_does_not_grow_with_the_repository(indexer: Indexer) -> None:
    indexer.client.create_repository(pb.CreateRepositoryRequest(name="default"))
    store = indexer.library.get("default").store
    vector = np.full(12, 12**-0.5, np.float32)
    said = {"path": "/a", "metadata": {"text": "x" * 4000}}
    peaks = []
    for size in (1000, 4000):
        store.upsert([Point(f"{at:08x}-0000-4000-8000-000000000000", {"color": vector}, said) for at in range(size)])
        tracemalloc.start()
        total = sum(map(len, export.export_repository(indexer.library.get("default"))))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total > size * 4000
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize("name", ["trips.jsonl", "trips.jsonl.gz"])
def test_the_commands_write_and_read_a_file(
    filled: Indexer, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, where = tmp_path / name, ["--indexer", filled.address]
    assert run(["repo", "export", "default", str(file), *where]) == 0
    assert f"written to {file}" in capsys.readouterr().out
    content = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
    assert content == b"".join(lines(filled))
    assert run(["repo", "import", "copy", str(file), "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3
    assert run(["repo", "export", "default", str(file), *where]) == 1
    assert "exists already" in capsys.readouterr().err


def test_an_export_that_fails_leaves_no_file(
    filled: Indexer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "a.jsonl"
    assert run(["repo", "export", "nothing", str(file), "--indexer", filled.address]) == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert run(["repo", "export", "default", str(tmp_path / "none" / "a"), "--indexer", filled.address]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_named(
    filled: Indexer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--indexer", filled.address]
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"".join(lines(filled)))[:-30])
    for file in (cut, tmp_path / "plain.gz"):
        if not file.exists():
            file.write_bytes(b"{}")
        assert run(["repo", "import", "copy", str(file), *where]) == 2
        assert f"{file} cannot be read" in capsys.readouterr().err
    assert run(["repo", "import", "copy", str(tmp_path / "missing"), *where]) == 2
    assert [each.name for each in filled.client.list_repositories()] == ["default"]


def test_a_copy_of_an_upload_does_not_take_the_file_with_it(indexer: Indexer) -> None:
    content = images.jpeg()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    header = pb.UploadHeader(repository="default", name="a.jpg", size_bytes=len(content), content_hash=digest)
    image_id = indexer.client.upload(header, [content]).image_id
    indexer.client.import_("copy", indexer.client.export("default"))
    copy_id = indexer.images("copy")["a.jpg"]
    indexer.client.delete(pb.DeleteRequest(repository="copy", ids=[copy_id]))
    indexer.client.delete_repository("copy")
    request = pb.FetchRequest(repository="default", image_id=image_id, originals=True)
    assert indexer.client.fetch(request)[1] == content


def test_a_crash_in_an_import_leaves_something_that_can_be_deleted(home: Path) -> None:
    with serving(home) as first:
        store = first.library._create_store("half", first.library.create("whole").record, {"importing": 1})
        store.upsert([Point("00000000-0000-4000-8000-000000000000", {}, {})])
        store.close()
    with serving(home) as second:
        assert "xcomp repo delete half" in second.client.describe().repositories[0].problem
        second.client.delete_repository("half")
        assert [each.name for each in second.client.list_repositories()] == ["whole"]
