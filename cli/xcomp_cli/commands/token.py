"""`xcomp token`: makes a token that a server requires and a client presents."""

import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from xcomp_cli.output import console
from xcomp_protos.errors import InvalidRequest
from xcomp_protos.server import auth


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
    opens = _scope(repo)
    line = " ".join(filter(None, (role, secrets.token_urlsafe(32), opens)))
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "ab+") as out:
        auth.check_private(os.fstat(descriptor).st_mode, str(file))
        out.write(f"{_missing_newline(out)}{line}\n".encode())
    console.note(f"{file} has a new token of role {role} for {opens or 'all repositories'}")


def _scope(repo: list[str] | None) -> str:
    """Returns the names as a token file has them; raises InvalidRequest for one that would open something else."""
    for name in repo or ():
        if not name or set(name) & set(", \t\r\n"):
            raise InvalidRequest(f"--repo {name!r} is no name of a repository: name one, or leave the option out")
    return ",".join(repo or ())


def _missing_newline(file: BinaryIO) -> str:
    """Returns what ends the last line of a file, so that the next one does not become part of it."""
    if not file.seek(0, os.SEEK_END):
        return ""
    file.seek(-1, os.SEEK_END)
    return "" if file.read(1) == b"\n" else "\n"
