"""Progress on stderr while a person watches; `bar.py` draws it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Protocol

from xcomp_cli.output.console import is_watched


class Advance(Protocol):
    """Moves a progress bar; a total of 0 means that it is not known yet."""

    def __call__(self, done: int, total: int, /, *, what: str) -> None:
        """Shows that `done` of `total` are done."""


def _unseen(_done: int, _total: int, /, *, what: str) -> None:
    """Moves no bar: nobody looks on."""
    del what


@contextmanager
def progress(unit: str) -> Iterator[Advance]:
    """Shows a bar with rate and time left while a person looks on, nothing otherwise."""
    if not is_watched():
        yield _unseen
        return

    from xcomp_cli.output.bar import bar  # it imports rich, which most commands never need

    with bar(unit) as advance:
        yield advance


@contextmanager
def waiting(what: str, *, after_s: float = 0.0) -> Iterator[None]:
    """Says what is being waited for while a person looks on and waits longer than `after_s`; then takes it back."""
    if not is_watched():
        yield
        return
    timer = Timer(after_s, _draw, args=(f"{what} …",))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        _draw("\r\x1b[2K")


def _draw(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
