"""How the commands speak: results on stdout, everything else on stderr, progress only on a terminal.

Names, queries and captions are a stranger's text: before a terminal sees them, whatever could act there is escaped.
"""

import json
import os
import re
import sys
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from unicodedata import east_asian_width

import typer

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

# C0 and C1 controls, and the marks that turn the direction of a line or break it.
_LATE = "\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
_ACTING = re.compile(f"[\x00-\x1f{_LATE}]")
_LATE_ACTING = re.compile(f"[{_LATE}]")  # what JSON leaves as it is


def printable(text: str) -> str:
    """Returns `text` on one line with every character escaped that a terminal might act on."""
    return _ACTING.sub(lambda found: ascii(found[0])[1:-1], text)


def print_result(line: str = "") -> None:
    """Prints a line of the result; what is a stranger's in it has gone through `printable`."""
    typer.echo(line)


def print_piece(piece: str) -> None:
    """Prints a piece of a running text at once; its lines stay lines, whatever else might act is escaped."""
    typer.echo("\n".join(map(printable, piece.split("\n"))), nl=False)


def note(line: str) -> None:
    """Prints a line that is no result: what happened, what to do next."""
    typer.echo(line, err=True)


def warn(line: str) -> None:
    """Prints a warning."""
    note(_style("warning: ", fg="yellow") + line)


def fail(message: str) -> None:
    """Prints an error as one line."""
    note(_style("error: ", fg="red", bold=True) + printable(" ".join(message.split())))


def print_json(value: Json) -> None:
    """Prints one JSON value, readable where the output takes every character, and harmless on a terminal."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not unicode, indent=2)
    typer.echo(_LATE_ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def fit(text: str, columns: int) -> str:
    """Returns as much of the text as so many columns hold; an ideograph takes two."""
    ends = list(accumulate(2 if east_asian_width(letter) in "WF" else 1 for letter in text))
    if not ends or ends[-1] <= columns:
        return text
    return f"{text[: bisect(ends, columns - 1)]}…"


def wrap(name: str, text: str) -> str:
    """Returns a name and a text beside it, in lines of the terminal's width."""

    return fill(text, columns(), initial_indent=name, subsequent_indent=" " * len(name))


def format_count(count: int, noun: str) -> str:
    """Returns how many of something there are, `1 image` or `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def columns() -> int:
    """Returns the width of a line of the results: the terminal's, without end in a pipe."""
    return get_terminal_size().columns if sys.stdout.isatty() else 1_000_000


def relative_path(path: str) -> str:
    """Returns the path from here if it lies below this folder, else as it is."""
    try:
        here = f"{Path.cwd()}/"
    except FileNotFoundError:  # somebody removed this folder
        return path
    return path.removeprefix(here)


def _style(text: str, *, fg: str | None = None, bold: bool = False, dim: bool = False) -> str:
    """Returns the text set off, unless the user wants none of it (no-color.org) or the terminal cannot."""
    plain = os.environ.get("NO_COLOR") or _is_dumb()
    return text if plain else typer.style(text, fg=fg, bold=bold or None, dim=dim or None)


def _is_dumb() -> bool:
    """Whether the terminal takes escape codes for text, as an editor's does."""
    return os.environ.get("TERM") == "dumb"


def is_watched() -> bool:
    """Whether a person looks on, at a terminal that can take a line back."""
    return sys.stderr.isatty() and not _is_dumb()


def strong(text: str) -> str:
    """Returns the text set off, where colour is shown."""
    return _style(text, bold=True)


def faint(text: str) -> str:
    """Returns the text held back, where colour is shown."""
    return _style(text, dim=True)
