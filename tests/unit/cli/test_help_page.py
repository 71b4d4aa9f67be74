"""docs/cli.md says what the commands say, and the table of commands says it as well."""

import inspect
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from tests.help_page import PAGE, documented, render
from xcomp_cli.help_examples import EXAMPLES
from xcomp_cli.main import COMMANDS, load


def _commands(group: typer.Typer, name: str) -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback
        yield f"{name} {command.name or command.callback.__name__}"
    for inner in group.registered_groups:
        assert inner.typer_instance
        yield from _commands(inner.typer_instance, f"{name} {inner.name}")


def _all_commands() -> Iterator[str]:
    for name in COMMANDS:
        group = load(name)
        is_group = isinstance(typer.main.get_command(group), TyperGroup)
        yield from _commands(group, f"xcomp {name}") if is_group else [f"xcomp {name}"]


def test_every_command_is_documented() -> None:
    assert sorted(documented(PAGE.read_text(encoding="utf-8"))) == sorted(["xcomp", *_all_commands()])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_row_of_the_table_has_the_first_sentence_of_its_command(name: str) -> None:
    help_text = typer.main.get_command(load(name)).help
    assert help_text
    first_paragraph = inspect.cleandoc(help_text).partition("\n\n")[0].replace("\n", " ")
    assert first_paragraph.startswith(COMMANDS[name][1])
    assert COMMANDS[name][1].endswith(".")


def test_page_shows_the_help_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == render(page), "write it again: python -m tests.help_page"


def test_every_command_has_examples() -> None:
    paths = {path.removeprefix("xcomp ") for path in _all_commands()}
    assert paths - set(EXAMPLES) <= {"serve indexer", "serve composer"}  # their help is that of the servers
    assert set(EXAMPLES) <= paths | {"serve"}


@pytest.mark.parametrize("example", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_is_a_command_line_that_is_accepted(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trips.xcomp").touch()
    program, name, *rest = shlex.split(example.partition(" | ")[0])
    assert program == "xcomp"
    command: Any = typer.main.get_command(load(name))
    while isinstance(command, TyperGroup):
        command = command.commands[rest.pop(0)]
    command.make_context(name, rest)  # raises for an unknown option or a missing argument
