"""`xcomp repo space`: changes the model of a repository while it serves."""

from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.commands.repo.basics import Name
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, progress
from xcomp_cli.output.message_json import to_json
from xcomp_cli.output.repositories import space_line
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Unavailable

SHOWN_FAILURES = 20

space = typer.Typer(help="Changes the models of a repository while it serves.", rich_markup_mode=None)

SpaceName = Annotated[str, typer.Argument(metavar="SPACE", help="The space.", show_default=False)]


@space.command()
def add(
    name: Name,
    called: SpaceName,
    model: Annotated[
        str,
        typer.Argument(metavar="[MODEL]", help="What embeds it; not needed for an existing space.", show_default=False),
    ] = "",
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template", metavar="TEXT", help="Put queries in at {}; may be repeated, then they are averaged."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 3 if images still lack the vector.")] = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Adds a space, or continues with one: embeds every image that lacks its vector.

    Searches and ingests go on meanwhile, and no search changes before a switch. After an interruption the embedded
    images stay, and the same command continues from there.
    """

    request = pb.AddSpaceRequest(
        repository=options.parse_text(name, name="name"), space=called, model=model, templates=template or ()
    )
    with clients.indexer(indexer) as client:
        summary, failures = _follow(client, request)
    if json:
        console.print_json(_filled_json(summary, failures))
    else:
        _show(name, summary, failures)
    raise typer.Exit(console.PARTIAL if strict and summary.lacking else 0)


@space.command()
def switch(
    name: Name,
    called: Annotated[
        list[str], typer.Argument(metavar="SPACE…", help="All spaces that answer from now on.", show_default=False)
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Even if images lack a vector or a language loses its space.")
    ] = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Lets these spaces answer from now on, in one step, and no others.

    The others keep their vectors and get those of new images, so that switching back is one step as well.
    """

    request = pb.SwitchSpacesRequest(repository=options.parse_text(name, name="name"), spaces=called, force=force)
    with clients.indexer(indexer) as client, progress.show_wait("loading the models"):
        answer = client.switch_spaces(request)
    if json:
        console.print_json({**to_json(answer.repository), "before": list(answer.before)})
        return
    console.print_result(f"{console.printable(name)}: {', '.join(called)} answer{'s' if len(called) == 1 else ''} now")
    if list(answer.before) != called:
        console.note(f"switch back with: xcomp repo space switch {console.printable(name)} {' '.join(answer.before)}")


@space.command()
def drop(
    name: Name,
    called: SpaceName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Removes a space that does not answer, with its vectors; nothing else is touched."""

    if not yes:
        typer.confirm(
            f"Remove the vectors of space {console.printable(called)} of {console.printable(name)}?",
            abort=True,
            err=True,
        )
    with clients.indexer(indexer) as client, progress.show_wait("removing the vectors"):
        answer = client.drop_space(pb.DropSpaceRequest(repository=options.parse_text(name, name="name"), space=called))
    if json:
        console.print_json({**to_json(answer.repository), "vectors": answer.vectors})
    else:
        console.print_result(f"{console.printable(name)}: space {called} removed with {answer.vectors} vectors")


def _follow(client: IndexerClient, request: pb.AddSpaceRequest) -> tuple[pb.FillSummary, list[pb.IngestFailure]]:

    failures: list[pb.IngestFailure] = []
    try:
        with progress.show_bar("images") as advance:
            advance(0, 0, what="loading the model")
            for event in client.add_space(request):
                kind = event.WhichOneof("event")
                if kind == "summary":
                    return event.summary, failures
                if kind == "failure":
                    failures.append(event.failure)
                else:
                    advance(event.progress.done, event.progress.total, what="embedding")
    except KeyboardInterrupt:
        console.note("embedded images stay; the same command continues from there")
        raise
    raise Unavailable("the indexer ended before its summary: run the command again")


def _show(name: str, summary: pb.FillSummary, failures: list[pb.IngestFailure]) -> None:
    called = summary.space.name
    console.print_result(
        f"{console.printable(name)}: {summary.filled} embedded {console.faint(f'({summary.seconds:.1f} s)')}"
    )
    console.print_result(space_line(summary.space))
    for failure in failures[:SHOWN_FAILURES]:
        console.warn(f"not embedded {console.printable(failure.path)}: {console.printable(failure.message)}")
    if len(failures) > SHOWN_FAILURES:
        console.warn(f"and {len(failures) - SHOWN_FAILURES} more: --json lists them all")
    if summary.lacking:
        console.warn(
            f"{called} lacks {console.format_count(summary.lacking, 'image')}: bring them up to date with xcomp index, "
            f"then run this again; a switch before that needs --force"
        )
    elif summary.space.state == "standby":
        console.note(f"complete; let it answer with: xcomp repo space switch {console.printable(name)} {called}")


def _filled_json(summary: pb.FillSummary, failures: list[pb.IngestFailure]) -> console.Json:
    return {
        "space": summary.space.name,
        **to_json(summary, "space.state", "space.images", "filled", "lacking"),
        "failed": [to_json(failure) for failure in failures],
        "seconds": summary.seconds,
    }
