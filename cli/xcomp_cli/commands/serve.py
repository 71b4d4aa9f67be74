"""`xcomp serve`: runs a server in the foreground; its flags are the server's own."""

import os
import sys

import typer

from xcomp_cli.local_server import manager
from xcomp_cli.local_server.paths import data_home
from xcomp_cli.local_server.process import COMPOSER, INDEXER

serve = typer.Typer(help="Runs a server in the foreground.", rich_markup_mode=None, add_completion=False)

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@serve.command(context_settings=_PASS_ON, add_help_option=False)
def indexer(context: typer.Context) -> None:
    """Runs the indexer; --help shows its flags."""
    _become("indexer", context.args)


@serve.command(context_settings=_PASS_ON, add_help_option=False)
def composer(context: typer.Context) -> None:
    """Runs the composer; --help shows its flags."""
    _become("composer", context.args)


def _become(name: str, arguments: list[str]) -> None:
    """Replaces this process by the server, so that signals and exit status are those of the server."""

    service = INDEXER if name == INDEXER.name else COMPOSER
    manager.require(service)
    os.environ.setdefault("XCOMP_HOME", str(data_home()))
    os.execv(sys.executable, [sys.executable, "-m", service.module, *arguments])  # noqa: S606  # no shell is wanted
