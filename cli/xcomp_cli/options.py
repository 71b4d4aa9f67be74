"""The options that several commands share: flag, environment name, default and help in one place."""

from typing import Annotated

import typer

Repo = Annotated[str, typer.Option("--repo", envvar="XCOMP_REPO", metavar="NAME", help="The repository.")]
Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        envvar="XCOMP_PROFILE",
        metavar="NAME",
        help="Models to use: clip, lite. By default the repository's own; clip for a new one.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else on stdout.")]
Indexer = Annotated[
    str,
    typer.Option(
        "--indexer",
        envvar="XCOMP_INDEXER",
        metavar="ADDRESS",
        help="host:port or unix:/path of a running indexer. By default a local one is found or started.",
        show_default=False,
    ),
]
Composer = Annotated[
    str,
    typer.Option(
        "--composer",
        envvar="XCOMP_COMPOSER",
        metavar="ADDRESS",
        help="host:port or unix:/path of a running composer. By default a local one is found or started.",
        show_default=False,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="EXPR", help="Only pictures for which EXPR holds; may be repeated."),
]
AllowRestricted = Annotated[
    bool, typer.Option("--allow-restricted", help="Expired, embargoed and internal pictures as well.")
]


def text(value: str, *, name: str) -> str:
    """Returns the text of an argument.

    Raises:
        InvalidRequest: it came in bytes that are not UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        from xcomp_protos.transport.errors import InvalidRequest

        raise InvalidRequest(f"the {name} is not UTF-8: {value!r:.60}") from None
    return value
