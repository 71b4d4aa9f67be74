"""`xcomp repo duplicates`: finds images of a repository that show the same."""

from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.commands.repo.basics import Name
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, progress
from xcomp_cli.output.message_json import to_json
from xcomp_protos import indexer_pb2 as pb


def duplicates(
    name: Name,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold",
            metavar="X",
            min=0,
            max=1,
            help="Cosine from which the pixels of two images are compared.",
        ),
    ] = 0.9,
    allow_restricted: options.AllowRestricted = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Finds copies of the same bytes, and images that were resized or encoded again.

    Nothing is removed. The largest image of a group comes first.
    """

    request = pb.DuplicatesRequest(
        repository=options.parse_text(name, name="name"), threshold=threshold, allow_restricted=allow_restricted
    )
    groups: list[pb.DuplicateGroup] = []
    outcome = pb.DuplicatesSummary()
    with clients.indexer(indexer) as client, progress.show_wait("comparing images"):
        for event in client.duplicates(request):
            if event.HasField("group"):
                groups.append(event.group)
            elif event.HasField("summary"):
                outcome = event.summary
    if json:
        found = [_as_json(group) for group in groups]
        console.print_json({"repository": name, "images": outcome.images, "unread": outcome.unread, "groups": found})
    else:
        _show(groups, outcome)


def _as_json(group: pb.DuplicateGroup) -> console.Json:
    return {"kind": "copies" if group.copies else "near", **to_json(group, "count", "images")}


def _show(groups: list[pb.DuplicateGroup], outcome: pb.DuplicatesSummary) -> None:
    for group in groups:
        console.print_result(f"{group.count} {'copies' if group.copies else 'near copies'}")
        for each in group.images:
            size = console.faint(f"{each.image.width}×{each.image.height}")
            console.print_result(f"  {console.printable(each.image.path)}  {size}")
    compared, found = console.format_count(outcome.images, "image"), console.format_count(len(groups), "group")
    console.note(f"{compared} compared, {found} of duplicates")
    if outcome.unread:
        unread = console.format_count(outcome.unread, "image")
        console.warn(f"could not read and did not compare {unread}: run xcomp index again")
