"""The progress bar: count, rate and time left on one line that is erased when the work is done."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from xcomp_cli.output.progress import Advance


class _Rate(ProgressColumn):
    """Units a second, once something was counted."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Renders the rate of `task`."""
        return Text(f"{task.speed:.1f} {self._unit}/s" if task.speed else "", style="dim")


@contextmanager
def bar(unit: str) -> Iterator[Advance]:
    """Draws on stderr; without a unit it is a spinner beside a text."""
    text = TextColumn("{task.description}", markup=False)
    counted = (BarColumn(bar_width=28), MofNCompleteColumn(), _Rate(unit), TimeRemainingColumn(compact=True))
    columns = (SpinnerColumn(), text, *(counted if unit else ()))
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task("", total=None)

        def advance(done: int, total: int, /, *, what: str) -> None:
            drawn.update(task, completed=done, total=total or None, description=what)

        yield advance
