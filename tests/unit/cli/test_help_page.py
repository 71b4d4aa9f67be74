"""docs/cli.md says what the commands say."""

from collections.abc import Iterator

import typer

from tests.help_page import PAGE, documented, render
from xcomp_cli.main import app


def _commands(group: typer.Typer, name: str) -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback
        yield f"{name} {command.name or command.callback.__name__}"
    for inner in group.registered_groups:
        assert inner.typer_instance
        yield from _commands(inner.typer_instance, f"{name} {inner.name}")


def test_every_command_is_documented() -> None:
    assert sorted(documented(PAGE.read_text(encoding="utf-8"))) == sorted(["xcomp", *_commands(app, "xcomp")])


def test_page_shows_the_help_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == render(page), "write it anew: python -m tests.help_page"
