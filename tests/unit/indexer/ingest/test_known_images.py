"""What a repository holds, against what is there: changes, losses, and who has a content."""

import pytest

from xcomp_indexer.ingest.known_images import KnownImages
from xcomp_indexer.ingest.points import image_id
from xcomp_indexer.ingest.prune import Roots
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.store import ScoredPoint


def digest(number: int) -> str:
    return f"{number:032x}"


def image(path: str, *, content: int = 1, uploaded: bool = False) -> ScoredPoint:
    payload: dict[str, object] = {
        "path": path, "size": 10, "mtime_ns": 1, "sidecar_mtime_ns": 0, "content_hash": digest(content),
    }  # fmt: skip
    return ScoredPoint(image_id("r", path), 0.0, payload | ({"uploaded": "a.jpg"} if uploaded else {}))


def holding(*points: ScoredPoint, roots: tuple[str, ...] = ("/p",)) -> KnownImages:
    held = KnownImages("r", roots=Roots(roots))
    for point in points:
        held.add(point)
    held.freeze()
    return held


def ids(*paths: str) -> set[str]:
    return {image_id("r", path) for path in paths}


@pytest.mark.parametrize(
    "entry",
    [
        Entry("/p/a", "/p", 11, 1),
        Entry("/p/a", "/p", 10, 2),
        Entry("/p/a", "/p", 10, 1, 5),
        Entry("/p/new", "/p", 10, 1),
    ],
)
def test_a_different_stat_is_a_change(entry: Entry) -> None:
    assert holding(image("/p/a"), image("/p/b")).select_changes([entry]) == [entry]


def test_the_same_stat_is_no_change() -> None:
    held = holding(*(image(f"/p/{at}") for at in range(50)))
    entries = [Entry(f"/p/{at}", "/other/root", 10, 1) for at in range(50)]
    assert held.select_changes(entries) == []
    assert held.present.all()


def test_everything_is_a_change_to_an_empty_repository() -> None:
    entries = [Entry("/p/a", "/p", 10, 1)]
    held = holding()
    assert (held.select_changes(entries), held.row("/p/a"), held.holder(digest(1)), held.orphan(digest(1))) == (
        entries, None, None, None,
    )  # fmt: skip


def test_an_image_that_lacks_a_vector_is_done_again_and_gives_none_away() -> None:
    held = KnownImages("r", roots=Roots(("/p",)))
    held.add(image("/p/a"), complete=False)
    held.add(image("/p/b", content=2))
    held.freeze()
    assert [entry.path for entry in held.select_changes([Entry("/p/a", "/p", 10, 1), Entry("/p/b", "/p", 10, 1)])] == [
        "/p/a"
    ]
    assert held.holder(digest(1)) is None
    assert {held.holder(digest(2))} == ids("/p/b")


def test_images_lie_under_roots_and_uploads_under_none() -> None:
    held = holding(image("/p/a"), image("/p/sub/b"), image("/q/c"), image("/p/d", uploaded=True))
    assert set(held.ids(held.mark_groups(lambda group: group > 0))) == ids("/p/a", "/p/sub/b")


@pytest.mark.parametrize("content", [7, 7 << 120, 1 << 8])  # zeros at either end
def test_contents_are_found_whatever_their_zeros(content: int) -> None:
    held = holding(image("/p/a", content=content), image("/p/b", content=9))
    assert {held.holder(digest(content))} == ids("/p/a")
    assert digest(content + 1) not in held


def test_what_was_added_since_has_its_content_too() -> None:
    held = holding(image("/p/a"))
    held.add_content(digest(5), image_id("r", "/p/new"))
    held.add_content(digest(1), image_id("r", "/p/copy"))
    assert {held.holder(digest(5))} == ids("/p/new")
    assert {held.holder(digest(1))} == ids("/p/copy")


def test_an_orphan_is_an_image_of_that_content_that_is_gone() -> None:
    held = holding(image("/p/a"), image("/p/b"), image("/p/c", content=2))
    assert held.orphan(digest(1)) is None
    row = held.row("/p/b")
    assert row is not None
    held.missing[row] = True
    assert held.orphan(digest(1)) == row
    assert held.orphan(digest(2)) is None


def test_a_file_is_only_touched_if_content_and_sidecar_are_the_same() -> None:
    held = holding(image("/p/a"))
    assert held.is_touched_only(0, content_hash=digest(1), sidecar_mtime_ns=0)
    assert not held.is_touched_only(0, content_hash=digest(2), sidecar_mtime_ns=0)
    assert not held.is_touched_only(0, content_hash=digest(1), sidecar_mtime_ns=5)
