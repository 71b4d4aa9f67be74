"""`xcomp token`: makes a token that a server requires and a client presents."""

import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli.output import console


class Role(StrEnum):
    """What the bearer may do; each role includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def token(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Gets one more line; made if missing.", show_default=False)
    ],
    role: Annotated[Role, typer.Option("--role", help="read, write (index as well) or admin.")] = Role.ADMIN,
    repo: Annotated[
        list[str] | None,
        typer.Option("--repo", metavar="NAME", help="Opens this repository alone; may be repeated."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Change nothing if the file is there.")] = False,
) -> None:
    """Makes a token: servers read FILE with --token-file, commands with XCOMP_TOKEN_FILE. It is never printed."""
    if keep and file.exists():
        console.note(f"{file} exists and was left as it is")
        return
    opens = ",".join(repo or ())
    line = " ".join(filter(None, (role, secrets.token_urlsafe(32), opens)))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "a", encoding="utf-8") as out:
        out.write(f"{line}\n")
    console.note(f"{file} has a new token of role {role} for {opens or 'all repositories'}")
