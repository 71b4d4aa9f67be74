"""Progress on stderr while a person watches a terminal.

rich, which draws the bar, is imported with the first bar: most commands draw none.
"""

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


def _ignore(_done: int, _total: int, /, *, what: str) -> None:
    del what


@contextmanager
def show_bar(unit: str) -> Iterator[Advance]:
    """Shows a bar with count, rate and time left, or without a unit a spinner; shows nothing if no person watches."""
    if not is_watched():
        yield _ignore
        return
    with _draw_bar(unit) as advance:
        yield advance


@contextmanager
def _draw_bar(unit: str) -> Iterator[Advance]:
    """Draws on one line, which is erased at the end."""
    from rich import progress as rich
    from rich.console import Console

    columns = [rich.SpinnerColumn(), rich.TextColumn("{task.description}", markup=False)]
    if unit:
        rate = rich.TextColumn("{task.fields[rate]}", style="dim")
        left = rich.TimeRemainingColumn(compact=True)
        columns += [rich.BarColumn(bar_width=28), rich.MofNCompleteColumn(), rate, left]
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")

        def advance(done: int, total: int, /, *, what: str) -> None:
            bar.update(task, completed=done, total=total or None, description=what)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.1f} {unit}/s" if speed else "")

        yield advance


@contextmanager
def show_wait(what: str, *, after_s: float = 0.0) -> Iterator[None]:
    """Shows what the command waits for if a person watches and the wait exceeds `after_s`; erases it at the end."""
    if not is_watched():
        yield
        return
    timer = Timer(after_s, _write, args=(f"{what} …",))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        _write("\r\x1b[2K")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
