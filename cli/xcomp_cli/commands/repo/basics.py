"""`xcomp repo list`, `show`, `create` and `delete`."""

from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.local_server import clients
from xcomp_cli.output import console
from xcomp_cli.output.message_json import to_json
from xcomp_cli.output.repositories import line, space_line
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import NotFound

repo = typer.Typer(
    help="Lists, shows, makes, deletes and moves repositories.", rich_markup_mode=None, add_completion=False
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The repository.", show_default=False)]


@repo.command("list")
def list_(json: options.Json = False, indexer: options.Indexer = "") -> None:
    """Names every repository."""

    with clients.indexer(indexer) as client:
        found = client.list_repositories()
    if json:
        console.print_json([to_json(one) for one in found])
    elif not found:
        console.note("no repository yet: xcomp index FOLDER makes one")
    else:
        for one in found:
            console.print_result(line(one))


@repo.command()
def show(name: Name, json: options.Json = False, indexer: options.Indexer = "") -> None:
    """Shows a repository's spaces, counts and last ingest."""

    with clients.indexer(indexer) as client:
        found = client.describe(options.parse_text(name, name="name")).repositories
    if not found:
        raise NotFound(f"no repository {name!r}: xcomp repo list names them all")
    if json:
        console.print_json(to_json(found[0]))
        return
    console.print_result(line(found[0]))
    for space in found[0].spaces:
        console.print_result(space_line(space))


@repo.command()
def create(
    name: Name, profile: options.Profile = "", json: options.Json = False, indexer: options.Indexer = ""
) -> None:
    """Creates an empty repository."""

    with clients.indexer(indexer) as client:
        repository = client.create_repository(
            pb.CreateRepositoryRequest(name=options.parse_text(name, name="name"), profile=profile)
        )
    if json:
        console.print_json(to_json(repository))
    else:
        console.print_result(line(repository))


@repo.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Removes a repository with its vectors; your files are never changed."""

    if not yes:
        typer.confirm(f"Remove the repository {console.printable(name)}?", abort=True, err=True)
    with clients.indexer(indexer) as client:
        count = client.delete_repository(options.parse_text(name, name="name"))
    if json:
        console.print_json({"repository": name, "deleted": count})
    else:
        removed = console.format_count(count, "image")
        console.print_result(f"{console.printable(name)}: removed with {removed}; the files stay where they are")
