"""Output of the commands: results on stdout, everything else on stderr; and their exit statuses.

Names, queries and captions are foreign text: characters that a terminal could act on are escaped.
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
from socket import gethostname
from textwrap import fill
from unicodedata import east_asian_width
from urllib.parse import quote

import typer

FAILED, USAGE, PARTIAL, UNREACHABLE, INTERRUPTED = 1, 2, 3, 4, 130  # exit statuses

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

# C0 and C1 controls, and characters that change the direction of a line or break it.
_LATE = "\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
_ACTING = re.compile(f"[\x00-\x1f{_LATE}]")
_LATE_ACTING = re.compile(f"[{_LATE}]")  # those that JSON does not escape


def printable(text: str) -> str:
    """Returns `text` on one line with every character escaped that a terminal might act on."""
    return _ACTING.sub(lambda found: ascii(found[0])[1:-1], text)


def print_result(line: str = "") -> None:
    """Prints a line of the result; the caller has passed foreign text in it through `printable`."""
    typer.echo(line)


def print_exact(text: str, *, end: str) -> None:
    """Prints text without escaping anything; only for programs that read exact names."""
    sys.stdout.write(text + end)


def link(text: str, path: str) -> str:
    """Returns the text as a link to a file of this machine (OSC 8), if this terminal gets codes at all."""
    if _is_plain() or not sys.stdout.isatty():
        return text
    url = f"file://{gethostname()}{quote(os.fsencode(path))}"
    return f"\x1b]8;;{url}\x1b\\{text}\x1b]8;;\x1b\\"


def print_piece(piece: str) -> None:
    """Prints a piece of a streamed text at once; line breaks stay, other control characters are escaped."""
    typer.echo("\n".join(map(printable, piece.split("\n"))), nl=False)


def note(line: str) -> None:
    """Prints a line on stderr: what happened, what to do next."""
    typer.echo(line, err=True)


def warn(line: str) -> None:
    """Prints a warning."""
    note(_style("warning: ", fg="yellow") + line)


def fail(message: str) -> None:
    """Prints an error as one line."""
    note(_style("error: ", fg="red", bold=True) + printable(" ".join(message.split())))


def print_json(value: Json) -> None:
    """Prints one JSON value; escapes what the output encoding lacks and what a terminal could act on."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not unicode, indent=2)
    typer.echo(_LATE_ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def fit(text: str, columns: int) -> str:
    """Returns as much of the text as fits into the columns; an ideograph takes two."""
    ends = list(accumulate(2 if east_asian_width(letter) in "WF" else 1 for letter in text))
    if not ends or ends[-1] <= columns:
        return text
    return f"{text[: bisect(ends, columns - 1)]}…"


def wrap(name: str, text: str) -> str:
    """Returns a name and its text, wrapped to the width of the terminal."""

    return fill(text, columns(), initial_indent=name, subsequent_indent=" " * len(name))


def format_count(count: int, noun: str) -> str:
    """Returns a count with its noun, `1 image` or `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def columns() -> int:
    """Returns the width of a line of the results: the terminal's, unlimited in a pipe."""
    return get_terminal_size().columns if sys.stdout.isatty() else 1_000_000


def relative_path(path: str) -> str:
    """Returns the path relative to the current folder if it is below that, else unchanged."""
    try:
        here = f"{Path.cwd()}/"
    except FileNotFoundError:  # the current folder was removed
        return path
    return path.removeprefix(here)


def _style(text: str, *, fg: str | None = None, bold: bool = False, dim: bool = False) -> str:
    """Returns the styled text, or plain text if the user (no-color.org) or the terminal wants no style."""
    return text if _is_plain() else typer.style(text, fg=fg, bold=bold or None, dim=dim or None)


def _is_plain() -> bool:
    return bool(os.environ.get("NO_COLOR")) or _is_dumb()


def _is_dumb() -> bool:
    """Whether the terminal shows escape codes as text, as in an editor."""
    return os.environ.get("TERM") == "dumb"


def is_watched() -> bool:
    """Whether a person watches stderr on a terminal that can erase a line."""
    return sys.stderr.isatty() and not _is_dumb()


def is_asking() -> bool:
    """Whether a person can be asked: questions go to stderr, answers come from stdin."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def strong(text: str) -> str:
    """Returns the text in bold if styles are shown."""
    return _style(text, bold=True)


def faint(text: str) -> str:
    """Returns the text dimmed if styles are shown."""
    return _style(text, dim=True)
