"""`xcomp repo optimize` and `snapshot`: maintenance of a repository in its store."""

from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.commands.repo.basics import Name
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, progress
from xcomp_cli.output.message_json import to_json


def optimize(name: Name, json: options.Json = False, indexer: options.Indexer = "") -> None:
    """Makes searches fast at the current size of a repository, while it serves.

    From 100,000 images on the embedded store gets an index; a smaller one is only compacted, and searched exactly.
    A large ingest does this by itself; call it after uploads and imports. A Qdrant server does not need it.
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
    list_: Annotated[bool, typer.Option("--list", help="List the snapshots; take none.")] = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Takes a snapshot of a repository where its store keeps them.

    docs/repositories.md says how to restore one. Unlike an export it is quick, and works only with this store.
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
