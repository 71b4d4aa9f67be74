"""What `--watch` does where the system has no watch left."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import watchfiles

from xcomp_cli.indexing import watch
from xcomp_protos.errors import Unavailable


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("OS file watch limit reached."),
     OSError(errno.EMFILE, "Too many open files")],
)  # fmt: skip
def test_at_the_limit_of_watches_folders_are_polled_and_it_is_said(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> Iterator[None]:
        raise error

    monkeypatch.setattr(watchfiles, "watch", refuse)
    monkeypatch.setattr(watch, "POLL_S", 0.01)
    seen = watch.changes([str(tmp_path)])
    assert [next(seen) for _ in range(3)] == [True, True, True]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "fs.inotify.max_user_watches" in said


def test_another_error_of_the_watcher_still_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Iterator[None]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    with pytest.raises(Unavailable, match="cannot be watched"):
        next(watch.changes([str(tmp_path)]))
