"""What a run may remove, and which roots a file lies under."""

import pytest

from xcomp_indexer.ingest.prune import Roots, above, refusing


@pytest.mark.parametrize(
    ("held", "lost", "refused"),
    [(100, 20, False), (100, 21, True), (1000, 100, False), (1000, 101, True), (5, 4, False), (5, 5, True)],
)
def test_a_root_refuses_to_lose_suspiciously_much(held: int, lost: int, refused: bool) -> None:
    assert refusing({"/p": lost}, {"/p": held}, {"/p": held - lost}) == ({"/p"} if refused else set())


def test_roots_are_judged_one_by_one() -> None:
    assert refusing({"/p": 1, "/q": 1, "/r": 0}, {"/p": 2, "/q": 1, "/r": 0}, {"/p": 1}) == {"/q"}


def test_a_file_lies_under_itself_and_every_root_above() -> None:
    roots = Roots(["/p", "/p/sub", "/p/sub/b", "/q"])
    groups = {path: roots.of(roots.group(path)) for path in ("/p/a", "/p/sub/b", "/p/sub/c", "/pp/d", "/q")}
    assert groups == {
        "/p/a": ("/p",), "/p/sub/b": ("/p/sub/b", "/p/sub", "/p"), "/p/sub/c": ("/p/sub", "/p"), "/pp/d": (),
        "/q": ("/q",),
    }  # fmt: skip
    assert roots.group("/pp/d") == 0
    assert roots.group("/p/x") == roots.group("/p/a") != roots.group("/p/sub/c")


def test_images_under_several_roots_count_for_each() -> None:
    roots = Roots(["/p", "/p/sub"])
    outer, inner = roots.group("/p/a"), roots.group("/p/sub/b")
    assert roots.each({outer: 3, inner: 2, 0: 7}) == {"/p": 5, "/p/sub": 2}


def test_above_yields_the_path_and_its_folders() -> None:
    assert list(above("/p/a/b", {"/p", "/", "/p/a/b", "/p/a/c"})) == ["/p/a/b", "/p", "/"]
