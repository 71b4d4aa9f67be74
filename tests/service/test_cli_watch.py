"""`xcomp index --watch`: changes are taken in as they come, a folder may go and come back, ^C ends it."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import images
from tests.indexing import Indexer, serving
from xcomp_cli.indexing.watch import changes
from xcomp_cli.main import run

PATIENCE_S = 60


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def until_true(seen: Iterator[bool]) -> int:
    """Waits for a change; returns how many times there was none."""
    end = time.monotonic() + PATIENCE_S
    calm = 0
    while not next(seen):
        calm += 1
        assert time.monotonic() < end
    return calm


@pytest.fixture
def seen(photos: Path) -> Iterator[bool]:
    return changes([str(photos)], settle_ms=50, tick_ms=100)


def test_the_first_look_counts_as_a_change_and_then_it_is_calm(seen: Iterator[bool]) -> None:
    assert [next(seen) for _ in range(4)] == [True, False, False, False]


def test_changes_below_a_folder_are_seen(seen: Iterator[bool], photos: Path) -> None:
    next(seen)
    (photos / "sub").mkdir()
    until_true(seen)
    for act in (
        lambda: (photos / "sub" / "a.jpg").write_bytes(b"x"),
        lambda: (photos / "sub" / "a.jpg.json").write_text("{}"),
        lambda: (photos / "sub" / "a.jpg").rename(photos / "b.jpg"),
        lambda: (photos / "b.jpg").unlink(),
        lambda: shutil.rmtree(photos / "sub"),
    ):
        threading.Timer(0.2, act).start()
        until_true(seen)


def test_what_no_scan_looks_at_is_no_change(seen: Iterator[bool], photos: Path) -> None:
    (photos / ".git").mkdir()
    (photos / "@eaDir").mkdir()
    next(seen)
    for name in (".git/index", "@eaDir/thumb.jpg", ".hidden.jpg"):
        (photos / name).write_bytes(b"x")
    assert [next(seen) for _ in range(4)] == [False] * 4


def test_a_folder_that_went_away_is_followed_again_once_it_is_back(seen: Iterator[bool], photos: Path) -> None:
    next(seen)
    shutil.rmtree(photos)
    until_true(seen)
    while next(seen):
        pass
    assert [next(seen) for _ in range(3)] == [False] * 3
    photos.mkdir()
    until_true(seen)  # it is back
    until_true(seen)  # and watched
    threading.Timer(0.2, (photos / "a.jpg").write_bytes, args=(b"x",)).start()
    assert until_true(seen) > 0


@contextmanager
def watching(indexer: Indexer, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Runs the command in a process of its own until the end of the test."""
    program = [sys.executable, "-c", "from xcomp_cli.main import main; main()"]
    process = subprocess.Popen(
        [*program, "index", str(folder), "--watch", "--indexer", indexer.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["local", "elsewhere"])
def test_a_watched_folder_stays_up_to_date_until_it_is_interrupted(
    kind: str, home: Path, photos: Path, short: Path
) -> None:
    images.library(photos, {"red.jpg": images.RED})
    listen = f"unix:{short}/s" if kind == "local" else "127.0.0.1:0"
    with serving(home, listen=listen) as indexer, watching(indexer, photos) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("default: 1 added")
        assert process.stderr.readline() == f"watching {photos}: ^C ends it\n"
        (photos / "blue.jpg").write_bytes(images.jpeg(images.BLUE))
        assert process.stdout.readline().startswith("default: 1 added")
        assert set(indexer.images()) == {"red.jpg", "blue.jpg"}
        (photos / "bad.jpg").write_text("no image")
        assert "1 skipped" in process.stdout.readline()
        shutil.rmtree(photos)
        time.sleep(0.5)
        images.library(photos, {"red.jpg": images.RED, "green.jpg": images.GREEN})
        assert eventually(lambda: "green.jpg" in indexer.images())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130
        assert "Traceback" not in said
        assert said.splitlines()[-1] == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--json"], "omit --json"), (["--dry-run"], "omit --dry-run"), (["server:/photos"], "server:/photos")],
)
def test_what_cannot_be_watched_is_wrong_usage(
    arguments: list[str], says: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["index", str(photos), "--watch", "--indexer", "unix:/nowhere", *arguments]) == 2
    assert says in capsys.readouterr().err
