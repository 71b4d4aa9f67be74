"""Which images an ingest may remove, and the roots of a file."""

import pytest

from xcomp_indexer.ingest.prune import Roots, ancestors_in, choose_protected_roots


@pytest.mark.parametrize(
    ("known", "missing", "is_protected"),
    [(100, 20, False), (100, 21, True), (1000, 100, False), (1000, 101, True), (5, 4, False), (5, 5, True)],
)
def test_a_root_that_would_lose_suspiciously_many_images_is_protected(
    known: int, missing: int, is_protected: bool
) -> None:
    roots = choose_protected_roots(missing={"/p": missing}, known={"/p": known}, present={"/p": known - missing})
    assert roots == ({"/p"} if is_protected else set())


def test_each_root_is_protected_on_its_own() -> None:
    missing, known = {"/p": 1, "/q": 1, "/r": 0}, {"/p": 2, "/q": 1, "/r": 0}
    assert choose_protected_roots(missing=missing, known=known, present={"/p": 1}) == {"/q"}


def test_the_roots_of_a_file_are_itself_and_its_parent_folders() -> None:
    roots = Roots(["/p", "/p/sub", "/p/sub/b", "/q"])
    groups = {path: roots.roots_of(roots.group(path)) for path in ("/p/a", "/p/sub/b", "/p/sub/c", "/pp/d", "/q")}
    assert groups == {
        "/p/a": ("/p",), "/p/sub/b": ("/p/sub/b", "/p/sub", "/p"), "/p/sub/c": ("/p/sub", "/p"), "/pp/d": (),
        "/q": ("/q",),
    }  # fmt: skip
    assert roots.group("/pp/d") == 0
    assert roots.group("/p/x") == roots.group("/p/a") != roots.group("/p/sub/c")


def test_images_under_several_roots_count_for_each() -> None:
    roots = Roots(["/p", "/p/sub"])
    outer, inner = roots.group("/p/a"), roots.group("/p/sub/b")
    assert roots.count_by_root({outer: 3, inner: 2, 0: 7}) == {"/p": 5, "/p/sub": 2}


def test_ancestors_are_the_path_and_its_parent_folders() -> None:
    assert list(ancestors_in("/p/a/b", {"/p", "/", "/p/a/b", "/p/a/c"})) == ["/p/a/b", "/p", "/"]
