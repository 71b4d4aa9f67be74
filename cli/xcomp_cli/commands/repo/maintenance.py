"""`xcomp repo optimize` and `snapshot`: upkeep of how a repository lies in its store."""

from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.commands.repo.basics import Name
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, progress
from xcomp_cli.output.message_json import to_json


def optimize(name: Name, json: options.Json = False, indexer: options.Indexer = "") -> None:
    """Makes searches fast at the size a repository has by now, while it serves.

    From 100,000 images on the embedded store gets an index; a smaller one is only compacted, and searched exactly.
    A large ingest does this by itself; after uploads and imports it is for you to call. A Qdrant server needs no such
    thing.
    """

    seconds = 0.0
    with clients.indexer(indexer) as client, progress.show_bar("") as advance:
        for event in client.optimize(options.parse_text(name, name="name")):
            seconds = event.seconds
            advance(0, 0, what=f"{event.step}, {seconds:.0f} s")
    if json:
        console.print_json({"repository": name, "seconds": round(seconds, 3)})
    elif seconds:
        console.print_result(f"{console.printable(name)}: optimized in {seconds:.1f} s")
    else:
        console.print_result(f"{console.printable(name)}: its server optimizes by itself")


def snapshot(
    name: Name,
    list_: Annotated[bool, typer.Option("--list", help="Name those that there are, take none.")] = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Takes a snapshot of a repository where its store keeps them.

    docs/repositories.md says how one comes back. Unlike an export it is quick, and fits this store alone.
    """

    with clients.indexer(indexer) as client, progress.show_wait("copying", after_s=0.5):
        repository = options.parse_text(name, name="name")
        found = client.list_snapshots(repository) if list_ else [client.snapshot(repository)]
    if json:
        console.print_json([to_json(one) for one in found])
    elif not found:
        console.note(f"{console.printable(name)} has no snapshot yet")
    else:
        for one in found:
            console.print_result(f"{console.printable(one.name)}: {one.size_bytes / 1e6:.1f} MB")
