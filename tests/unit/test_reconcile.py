"""What is to be done and what is gone, from a scan and what a repository holds."""

import pytest

from xcomp_indexer.reconcile import Known, above, changed, missing, removable
from xcomp_indexer.scan import Entry, Scan


def known(*paths: str, complete: bool = True) -> dict[str, Known]:
    return {path: Known(f"id{path}", path, 10, 1, 0, f"hash{path}", complete) for path in paths}


def found(*paths: str, unreadable: tuple[str, ...] = ()) -> Scan:
    return Scan([Entry(path, "/p", 10, 1) for path in paths], [(path, PermissionError()) for path in unreadable])


def paths(images: list[Known]) -> list[str]:
    return [image.path for image in images]


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
    assert changed([entry], known("/p/a")) == [entry]


def test_the_same_stat_is_no_change() -> None:
    assert changed([Entry("/p/a", "/other/root", 10, 1)], known("/p/a")) == []


def test_an_image_that_lacks_a_vector_is_done_again() -> None:
    assert len(changed([Entry("/p/a", "/p", 10, 1)], known("/p/a", complete=False))) == 1


def test_missing_looks_only_under_the_roots_and_where_it_could_read() -> None:
    images = known("/p/a", "/p/gone", "/p/locked/b", "/pp/c", "/q/d")
    assert paths(missing(found("/p/a", unreadable=("/p/locked",)), images, ["/p"])) == ["/p/gone"]


def test_a_file_may_be_a_root() -> None:
    assert paths(missing(found(), known("/p/a", "/p/ab"), ["/p/a"])) == ["/p/a"]


@pytest.mark.parametrize(
    ("held", "lost", "refused"), [(100, 20, 0), (100, 21, 21), (1000, 100, 0), (1000, 101, 101), (5, 4, 0), (5, 5, 5)]
)
def test_suspiciously_many_removals_of_a_root_are_refused(held: int, lost: int, refused: int) -> None:
    images = known(*(f"/p/{at}" for at in range(held)))
    scan = found(*(f"/p/{at}" for at in range(lost, held)))
    allowed, kept = removable(missing(scan, images, ["/p"]), scan, images, ["/p"])
    assert (len(allowed), len(kept)) == (lost - refused, refused)


def test_roots_are_judged_one_by_one() -> None:
    images = known("/p/a", "/p/b", "/q/c")
    scan = found("/p/a")
    allowed, refused = removable(missing(scan, images, ["/p", "/q"]), scan, images, ["/p", "/q"])
    assert (paths(allowed), paths(refused)) == (["/p/b"], ["/q/c"])


def test_an_image_under_two_roots_is_kept_if_one_of_them_refuses() -> None:
    images = known("/p/a", "/p/sub/b")
    scan = found("/p/a")
    allowed, refused = removable(missing(scan, images, ["/p", "/p/sub"]), scan, images, ["/p", "/p/sub"])
    assert (allowed, paths(refused)) == ([], ["/p/sub/b"])


def test_above_yields_the_path_and_its_folders() -> None:
    assert list(above("/p/a/b", {"/p", "/", "/p/a/b", "/p/a/c"})) == ["/p/a/b", "/p", "/"]
