"""Writes the generated parts of docs/cli.md: `python -m tests.help_page`; a test compares them with the commands."""

import os
import re
import subprocess
import sys
from pathlib import Path

from xcomp_indexer.search.filter_fields import FIELDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
_PART = re.compile(
    r"<!-- (help: (?P<command>[a-z -]+)|fields) -->\n(\n```text\n.*?\n```\n|\n\|.*?\n(?=\n))?", re.DOTALL
)


def render(page: str) -> str:
    """Returns the page with its generated parts as they should be."""
    return _PART.sub(lambda part: _help(part["command"]) if part["command"] else _fields(), page)


def documented(page: str) -> list[str]:
    """Names the commands that the page shows the help of."""
    return [part["command"] for part in _PART.finditer(page) if part["command"]]


def _help(command: str) -> str:
    program = [sys.executable, "-c", "from xcomp_cli.main import main; main()", *command.split()[1:], "--help"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XCOMP_")}
    wide = {**environment, "COLUMNS": "100", "TERM": "dumb"}
    said = subprocess.run(program, capture_output=True, text=True, check=True, env=wide).stdout
    lines = "\n".join(line.rstrip() for line in said.strip().splitlines())
    return f"<!-- help: {command} -->\n\n```text\n{lines}\n```\n"


def _fields() -> str:
    rows = [f"| `{name}` | {_operators(field.operators)} | {field.meaning} |" for name, field in FIELDS.items()]
    rows.append("| `meta.KEY` | `=` `!=` `>=` `<=` `>` `<` | a key of the metadata: its exact text, or a number |")
    table = "\n".join(["| field | comparisons | meaning |", "|---|---|---|", *rows])
    return f"<!-- fields -->\n\n{table}\n"


def _operators(operators: tuple[str, ...]) -> str:
    return " ".join(f"`{operator}`" for operator in operators)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
