"""Changing the model of a repository while it serves: a space is added, filled, answers, gives way, and goes."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests import images
from tests.fakes import OtherEmbedder
from tests.indexing import Indexer, counts, serving
from xcomp_indexer.admin import backfill
from xcomp_indexer.admin import spaces as change
from xcomp_indexer.images import decode
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.repository.repository import RECORD_S, Repository
from xcomp_indexer.search.engine import SearchEngine
from xcomp_indexer.store import Filter, Meta
from xcomp_indexer.store.factory import open_stores
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound

COLORS = {"red.jpg": images.RED, "green.jpg": images.GREEN, "blue.jpg": images.BLUE, "yellow.jpg": images.YELLOW}
OTHER = "other:colors"


@pytest.fixture
def other() -> OtherEmbedder:
    return OtherEmbedder()


@pytest.fixture
def indexer(home: Path, photos: Path, other: OtherEmbedder) -> Iterator[Indexer]:
    """An indexer with four images in the space `color`, that has a second model."""
    with serving(home, others={OTHER: other}) as running:
        images.library(photos, COLORS)
        running.ingest(photos)
        yield running


def add(
    indexer: Indexer, space: str = "new", model: str = OTHER, *, templates: Sequence[str] = ()
) -> tuple[pb.FillSummary, dict[str, str]]:
    """Adds a space; returns the summary and the reason of each failure by file name."""
    request = pb.AddSpaceRequest(repository="default", space=space, model=model, templates=templates)
    events = list(indexer.client.add_space(request))
    failures = {Path(event.failure.path).name: event.failure.reason for event in events if event.HasField("failure")}
    return events[-1].summary, failures


def switch(indexer: Indexer, *spaces: str, force: bool = False) -> list[str]:
    request = pb.SwitchSpacesRequest(repository="default", spaces=spaces, force=force)
    return list(indexer.client.switch_spaces(request).before)


def drop(indexer: Indexer, space: str) -> int:
    return indexer.client.drop_space(pb.DropSpaceRequest(repository="default", space=space)).vectors


def states(indexer: Indexer) -> dict[str, tuple[str, int]]:
    """State and images of every space."""
    return {each.name: (each.state, each.images) for each in indexer.client.describe("default").repositories[0].spaces}


def test_a_space_is_added_filled_and_waits_on_standby(indexer: Indexer, other: OtherEmbedder) -> None:
    summary, failures = add(indexer)
    assert (summary.filled, summary.failed, summary.lacking, failures) == (4, 0, 0, {})
    assert (summary.space.model, summary.space.source, summary.space.digest) == (other.name, OTHER, other.digest)
    assert states(indexer) == {"color": ("active", 4), "new": ("standby", 4)}
    assert list(indexer.hits("red").spaces) == ["color"]
    for point in indexer.library.get("default").store.scan(vectors=True):
        np.testing.assert_allclose(point.vectors["new"][:-1], point.vectors["color"][::-1], atol=1e-6)


def test_the_switch_is_one_step_and_so_is_the_way_back(indexer: Indexer) -> None:
    add(indexer)
    assert switch(indexer, "new", force=True) == ["color"]  # forced: it reads no Chinese
    answer = indexer.hits("red")
    assert (list(answer.spaces), Path(answer.hits[0].image.path).name) == (["new"], "red.jpg")
    assert states(indexer) == {"new": ("active", 4), "color": ("standby", 4)}
    assert switch(indexer, "color") == ["new"]
    assert list(indexer.hits("red").spaces) == ["color"]


def test_both_may_answer(indexer: Indexer) -> None:
    add(indexer)
    assert switch(indexer, "new", "color") == ["color"]
    assert list(indexer.hits("red").spaces) == ["new", "color"]
    assert list(indexer.hits("红").spaces) == ["color"]


def test_a_switch_writes_the_record_once(indexer: Indexer, monkeypatch: pytest.MonkeyPatch) -> None:
    add(indexer)
    store = indexer.library.get("default").store
    written: list[Meta] = []
    before, write = dict(store.meta()), store.set_meta

    def note(patch: Meta) -> None:
        written.append(patch)
        write(patch)

    monkeypatch.setattr(store, "set_meta", note)
    switch(indexer, "new", force=True)
    assert len(written) == 1
    assert {key for key, value in store.meta().items() if value != before[key]} == {"active"}


def test_a_language_is_not_lost_unasked(indexer: Indexer) -> None:
    add(indexer)
    with pytest.raises(Conflict, match=r"understand zh: name another one beside new, or switch with --force"):
        switch(indexer, "new")


def test_a_switch_waits_for_every_vector_unless_it_is_forced(indexer: Indexer, photos: Path) -> None:
    (photos / "red.jpg").unlink()
    (photos / "green.jpg").write_bytes(images.jpeg(images.YELLOW))
    (photos / "blue.jpg").write_bytes(b"no image")
    summary, failures = add(indexer)
    assert failures == {"red.jpg": "vanished", "green.jpg": "changed", "blue.jpg": "not_an_image"}
    assert (summary.filled, summary.failed, summary.lacking, summary.space.state) == (1, 3, 3, "filling")
    with pytest.raises(Conflict, match=r"3 images have no vector in space 'new' yet.*xcomp repo space add default new"):
        switch(indexer, "new", "color")
    indexer.ingest(photos, prune=True)
    assert states(indexer) == {"color": ("active", 2), "new": ("filling", 2)}  # what changed got both vectors
    assert add(indexer, model="")[0].space.state == "standby"
    switch(indexer, "new", "color")


def test_a_forced_switch_is_made_good_by_the_next_ingest(indexer: Indexer, photos: Path) -> None:
    content = (photos / "red.jpg").read_bytes()
    (photos / "red.jpg").unlink()
    add(indexer)
    switch(indexer, "new", force=True)
    assert "red.jpg" not in indexer.search("red")
    (photos / "red.jpg").write_bytes(content)
    summary, _ = indexer.ingest(photos)
    assert counts(summary) == {"scanned": 4, "updated": 1, "unchanged": 3}
    assert indexer.search("red")[0] == "red.jpg"


def test_new_images_get_the_vectors_of_every_space(indexer: Indexer, photos: Path) -> None:
    add(indexer)
    images.library(photos, {"white.jpg": (250, 250, 250)})
    indexer.ingest(photos)
    assert states(indexer) == {"color": ("active", 5), "new": ("standby", 5)}
    assert indexer.ingest(photos)[0].unchanged == 5


def test_an_ingest_leaves_alone_what_is_still_to_be_filled(indexer: Indexer, photos: Path) -> None:
    (photos / "red.jpg").rename(photos / "away")
    add(indexer)
    (photos / "away").rename(photos / "red.jpg")
    before = indexer.embedder.images
    assert counts(indexer.ingest(photos)[0]) == {"scanned": 4, "unchanged": 4}
    assert indexer.embedder.images == before
    assert add(indexer)[0].filled == 1


def test_searches_and_ingests_go_on_while_a_space_is_filled(
    indexer: Indexer, photos: Path, other: OtherEmbedder
) -> None:
    other.open.clear()
    done: list[pb.FillSummary] = []
    filling = threading.Thread(target=lambda: done.append(add(indexer)[0]))
    filling.start()
    assert other.waiting.wait(60)
    assert indexer.search("red")[0] == "red.jpg"
    assert states(indexer)["new"] == ("filling", 0)
    with pytest.raises(Conflict, match="being filled or dropped"):
        add(indexer)
    with pytest.raises(Conflict, match="being filled or dropped"):
        drop(indexer, "new")
    (photos / "red.jpg").write_bytes(images.jpeg(images.YELLOW))  # embedded already, and not written yet
    other.open.set()
    indexer.ingest(photos)
    filling.join(60)
    assert done
    for point in indexer.library.get("default").store.scan(vectors=True):  # no vector of what the image was before
        if "new" in point.vectors:
            np.testing.assert_allclose(point.vectors["new"][:-1], point.vectors["color"][::-1], atol=1e-6)
    add(indexer)
    assert states(indexer) == {"color": ("active", 4), "new": ("standby", 4)}


def test_who_leaves_stops_the_filling_and_comes_back_to_the_rest(
    indexer: Indexer, photos: Path, other: OtherEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "PROGRESS_S", 0)
    images.library(photos, {f"{at:03}.jpg": images.RED for at in range(100)})
    indexer.ingest(photos)
    events = indexer.client.add_space(pb.AddSpaceRequest(repository="default", space="new", model=OTHER))
    next(events)
    other.open.clear()
    assert other.waiting.wait(60)
    events.close()  # type: ignore[attr-defined]  # a generator
    other.open.set()
    with indexer.library.get("default").filling:  # until it has noticed
        held = states(indexer)["new"][1]
    assert held < 104
    assert states(indexer)["new"][0] == "filling"
    summary, _ = add(indexer)
    assert (summary.filled, summary.lacking) == (104 - held, 0)


def test_uploads_are_filled_and_get_the_new_vector_as_well(indexer: Indexer) -> None:
    def upload(color: images.Color, name: str) -> None:
        content = images.jpeg(color, size=(80, 80))
        header = pb.UploadHeader(
            repository="default", name=name, size_bytes=len(content), content_hash=decode.content_hash(content)
        )
        indexer.client.upload(header, [content])

    upload(images.RED, "one.jpg")
    assert add(indexer)[0].filled == 5
    upload(images.GREEN, "two.jpg")
    assert states(indexer) == {"color": ("active", 6), "new": ("standby", 6)}


def test_files_outside_the_allowed_roots_are_not_read(
    home: Path, photos: Path, tmp_path: Path, other: OtherEmbedder
) -> None:
    images.library(photos, COLORS)
    with serving(home) as before:
        before.ingest(photos)
    with serving(home, roots=[tmp_path / "elsewhere"], others={OTHER: other}) as narrow:
        assert set(add(narrow)[1].values()) == {"permission"}
        assert other.images == 0


def test_a_space_that_was_dropped_while_a_switch_was_prepared_does_not_come_to_answer(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the record would name a space that it does not describe, and the repository could not be opened."""
    add(indexer)
    prepare = SearchEngine.prepare

    def prepare_and_drop(search: SearchEngine, repository: Repository, spaces: Sequence[str]) -> None:
        prepare(search, repository, spaces)
        change.drop_space(repository, "new")

    monkeypatch.setattr(SearchEngine, "prepare", prepare_and_drop)
    with pytest.raises(NotFound, match="no space 'new'"):
        switch(indexer, "new", force=True)
    assert states(indexer) == {"color": ("active", 4)}
    assert list(indexer.hits("red").spaces) == ["color"]


def test_a_space_that_came_to_answer_meanwhile_is_not_dropped(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(indexer)
    repository = indexer.library.get("default")
    count = repository.store.count

    def count_slowly(where: Filter | None = None) -> int:
        change.switch_spaces(repository, ["new"])
        return count(where)

    monkeypatch.setattr(repository.store, "count", count_slowly)
    with pytest.raises(Conflict, match="answers searches"):
        change.drop_space(repository, "new")
    monkeypatch.undo()
    assert states(indexer) == {"new": ("active", 4), "color": ("standby", 4)}


def test_an_upload_may_have_begun_before_a_space_went(indexer: Indexer, other: OtherEmbedder) -> None:
    add(indexer)
    other.open.clear()
    content = images.jpeg(images.RED, size=(80, 80))
    header = pb.UploadHeader(
        repository="default", name="one.jpg", size_bytes=len(content), content_hash=decode.content_hash(content)
    )
    answers: list[pb.UploadResponse] = []
    uploading = threading.Thread(target=lambda: answers.append(indexer.client.upload(header, [content])))
    uploading.start()
    assert other.waiting.wait(60)  # with the space that goes
    drop(indexer, "new")
    other.open.set()
    uploading.join(60)
    assert answers[0].image_id
    assert states(indexer) == {"color": ("active", 5)}


def test_a_space_that_answers_is_not_dropped_and_one_that_does_not_is(indexer: Indexer, photos: Path) -> None:
    add(indexer)
    with pytest.raises(Conflict, match="answers searches: switch to others first"):
        drop(indexer, "color")
    assert drop(indexer, "new") == 4
    assert states(indexer) == {"color": ("active", 4)}
    assert indexer.library.get("default").store.spaces() == {"color": 12}
    assert indexer.ingest(photos)[0].unchanged == 4


def test_a_name_that_was_dropped_is_filled_anew(indexer: Indexer, photos: Path) -> None:
    add(indexer)
    switch(indexer, "new", "color")
    assert indexer.search("red")[0] == "red.jpg"
    switch(indexer, "color")
    drop(indexer, "new")
    summary, _ = add(indexer, model="color:hsv")
    assert (summary.filled, summary.space.dimension) == (4, 12)
    switch(indexer, "new")
    assert indexer.search("red")[0] == "red.jpg"
    assert indexer.ingest(photos)[0].unchanged == 4


def test_an_ingest_keeps_spaces_from_being_dropped(indexer: Indexer) -> None:
    add(indexer)
    with indexer.library.get("default").ingesting, pytest.raises(Conflict, match="is being indexed"):
        drop(indexer, "new")


@pytest.mark.parametrize(
    ("space", "model", "templates", "error", "said"),
    [
        ("new", "", (), InvalidRequest, "model: name the model of the new space"),
        ("New", OTHER, (), InvalidRequest, "small letters"),
        ("", OTHER, (), InvalidRequest, "small letters"),
        ("color", OTHER, (), Conflict, "use another name"),
        ("new", OTHER, ("a photo",), InvalidRequest, r"needs one \{\}"),
        ("new", OTHER, ("{} and {}",), InvalidRequest, r"needs one \{\}"),
        ("new", OTHER, ("{}",) * 17, InvalidRequest, "too many"),
        ("color", "", ("a photo of {}",), Conflict, "other templates"),
    ],
)
def test_a_space_that_cannot_be_is_refused(
    indexer: Indexer, space: str, model: str, templates: tuple[str, ...], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        add(indexer, space, model, templates=templates)
    assert states(indexer) == {"color": ("active", 4)}


def test_what_is_not_there_is_named(indexer: Indexer) -> None:
    with pytest.raises(NotFound, match=r"no space 'nope'.*it has color"):
        switch(indexer, "nope")
    with pytest.raises(NotFound, match="no space 'nope'"):
        drop(indexer, "nope")
    for names in ((), ("color", "color")):
        with pytest.raises(InvalidRequest, match="at least one"):
            switch(indexer, *names)


def test_texts_are_put_into_the_templates_of_a_space(indexer: Indexer, other: OtherEmbedder) -> None:
    templates = ["a photo of {}", "{} in the garden"]
    assert list(add(indexer, templates=templates)[0].space.templates) == templates
    switch(indexer, "new", force=True)
    assert indexer.search("red {} thing")[0] == "red.jpg"
    assert {"a photo of red {} thing", "red {} thing in the garden"} <= set(other.texts)
    assert "red {} thing" not in other.texts


def test_a_standby_whose_model_went_away_names_the_way_out(
    home: Path, indexer: Indexer, photos: Path, other: OtherEmbedder
) -> None:
    add(indexer)
    other.digest = "08" * 32
    images.library(photos, {"white.jpg": (250, 250, 250)})
    with pytest.raises(Conflict, match="xcomp repo space drop default new"):
        indexer.ingest(photos)
    drop(indexer, "new")
    assert indexer.ingest(photos)[0].added == 1


def test_changed_weights_are_replaced_beside_the_old_vectors(indexer: Indexer, photos: Path) -> None:
    indexer.embedder.digest = "09" * 32
    with pytest.raises(Conflict, match="xcomp repo space add default color2 color:hsv"):
        indexer.search("red")
    add(indexer, "color2", "color:hsv")
    switch(indexer, "color2")
    drop(indexer, "color")
    assert indexer.search("red")[0] == "red.jpg"
    assert indexer.ingest(photos)[0].unchanged == 4


def test_a_profile_goes_by_its_name_or_by_what_answers(indexer: Indexer, photos: Path) -> None:
    add(indexer)
    switch(indexer, "new", force=True)
    for profile in ("color", f"new={OTHER}"):
        assert indexer.library.get("default", profile=profile).profile == "color"
    with pytest.raises(Conflict, match="made with profile 'color'"):
        indexer.library.get("default", profile="lite")


def test_an_export_carries_spaces_and_states(indexer: Indexer) -> None:
    add(indexer, templates=["a photo of {}"])
    switch(indexer, "new", force=True)
    made = indexer.client.import_("copy", indexer.client.export("default"))
    ours = indexer.client.describe("default").repositories[0]
    assert list(made.spaces) == list(ours.spaces)


def test_another_server_of_the_same_store_notices(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = open_stores("memory:", indexes={})
    models = EmbedderCache(lambda model: OtherEmbedder())
    here, there = (RepositoryCatalog(stores, models, default_profile="color") for _ in range(2))
    repository = here.create("shared")
    mirror = there.get("shared")
    repository.rewrite(lambda record: record.with_space(record.spaces["color"]).with_active(("color",)))
    store = mirror.store
    store.set_meta({"models": {**store.meta()["models"], "b": store.meta()["models"]["color"]}, "active": ["b"]})  # type: ignore[dict-item,index]  # JSON
    assert [space.name for space in mirror.spaces] == ["color"]
    mirror.read_at -= RECORD_S + 1
    assert [space.name for space in there.get("shared").spaces] == ["b"]
