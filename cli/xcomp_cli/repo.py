"""`xcomp repo`: the repositories of an indexer."""

from typing import TYPE_CHECKING, Annotated

import typer

from xcomp_cli import display, options

if TYPE_CHECKING:
    from xcomp_protos import indexer_pb2 as pb

repo = typer.Typer(help="Lists, shows, makes, deletes and moves repositories.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The repository.", show_default=False)]


@repo.command("list")
def list_(json: options.Json = False, indexer: options.Indexer = "") -> None:
    """Names every repository."""
    from xcomp_cli import connect

    with connect.indexer(indexer) as client:
        found = client.list_repositories()
    if json:
        display.print_json([as_json(one) for one in found])
    elif not found:
        display.note("no repository yet: xcomp index FOLDER makes one")
    else:
        for one in found:
            display.result(line(one))


@repo.command()
def show(name: Name, json: options.Json = False, indexer: options.Indexer = "") -> None:
    """Shows a repository's spaces, counts and last ingest."""
    from xcomp_cli import connect
    from xcomp_protos.transport.errors import NotFound

    with connect.indexer(indexer) as client:
        found = client.describe(options.text(name, name="name")).repositories
    if not found:
        raise NotFound(f"no repository {name!r}: xcomp repo list names them all")
    if json:
        display.print_json(as_json(found[0]))
        return
    display.result(line(found[0]))
    for space in found[0].spaces:
        display.result(space_line(space))


@repo.command()
def create(
    name: Name, profile: options.Profile = "", json: options.Json = False, indexer: options.Indexer = ""
) -> None:
    """Creates an empty repository."""
    from xcomp_cli import connect
    from xcomp_protos import indexer_pb2 as pb

    with connect.indexer(indexer) as client:
        made = client.create_repository(
            pb.CreateRepositoryRequest(name=options.text(name, name="name"), profile=profile)
        )
    if json:
        display.print_json(as_json(made))
    else:
        display.result(line(made))


@repo.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Removes a repository with its vectors; your files are never touched."""
    from xcomp_cli import connect

    if not yes:
        typer.confirm(f"Remove the repository {display.printable(name)}?", abort=True, err=True)
    with connect.indexer(indexer) as client:
        count = client.delete_repository(options.text(name, name="name"))
    if json:
        display.print_json({"repository": name, "deleted": count})
    else:
        held = display.counted(count, "image")
        display.result(f"{display.printable(name)}: removed with {held}; the files are where they were")


def line(one: "pb.Repository") -> str:
    """Returns a repository in a line; of one that cannot be opened, why."""
    if one.problem:
        return f"{display.strong(display.printable(one.name))}: cannot be opened: {display.printable(one.problem)}"
    size = f", {one.size_bytes / 1e6:.1f} MB" if one.size_bytes else ""
    name = display.strong(display.printable(one.name))
    failed = f", {sum(one.failures.values())} failed ({failures(one)})" if one.failures else ""
    return f"{name}: {display.counted(one.images, 'image')}, profile {display.printable(one.profile)}{size}{failed}"


def space_line(space: "pb.Space") -> str:
    """Returns a space in a line."""
    said = f", queries as {' | '.join(map(display.printable, space.templates))}" if space.templates else ""
    return (
        f"  space {space.name}, {space.state}: {display.printable(space.model)}, {space.dimension} dimensions, "
        f"{display.counted(space.images, 'image')}, understands {', '.join(space.languages)}{said}"
    )


def failures(one: "pb.Repository") -> str:
    """Returns how many files failed for which reason, the most frequent first."""
    counts = sorted(one.failures.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count} {display.printable(reason)}" for reason, count in counts)


def as_json(one: "pb.Repository") -> display.Json:
    """Returns a repository as a JSON value."""
    from xcomp_composer.wire_pictures import metadata_from_struct

    return {
        "name": one.name,
        "profile": one.profile,
        "images": one.images,
        "size_bytes": one.size_bytes,
        "failures": dict(sorted(one.failures.items())),
        "spaces": [
            {
                "name": space.name,
                "model": space.model,
                "digest": space.digest,
                "dimension": space.dimension,
                "languages": list(space.languages),
                "images": space.images,
                "state": space.state,
                "source": space.source,
                "templates": list(space.templates),
            }
            for space in one.spaces
        ],
        "last_ingest": metadata_from_struct(one.last_ingest),
        "problem": one.problem,
    }
