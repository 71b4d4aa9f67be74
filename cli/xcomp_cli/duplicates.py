"""`xcomp repo duplicates`: which pictures of a repository are one and the same."""

from typing import TYPE_CHECKING, Annotated

import typer

from xcomp_cli import display, options
from xcomp_cli.repo import Name

if TYPE_CHECKING:
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
            help="Cosine from which the pixels of two pictures are compared.",
        ),
    ] = 0.9,
    allow_restricted: options.AllowRestricted = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Finds copies of the same bytes, and pictures that were resized or encoded anew.

    Nothing is removed. The largest picture of a group comes first.
    """
    from xcomp_cli import connect
    from xcomp_protos import indexer_pb2 as pb

    request = pb.DuplicatesRequest(
        repository=options.text(name, name="name"), threshold=threshold, allow_restricted=allow_restricted
    )
    groups: list[pb.DuplicateGroup] = []
    outcome = pb.DuplicatesSummary()
    with connect.indexer(indexer) as client, display.waiting("comparing pictures"):
        for event in client.duplicates(request):
            if event.HasField("group"):
                groups.append(event.group)
            elif event.HasField("summary"):
                outcome = event.summary
    if json:
        found = [_as_json(group) for group in groups]
        display.print_json({"repository": name, "images": outcome.images, "unread": outcome.unread, "groups": found})
    else:
        _show(groups, outcome)


def _as_json(group: "pb.DuplicateGroup") -> display.Json:
    return {
        "kind": "copies" if group.copies else "near",
        "count": group.count,
        "images": [
            {
                "id": each.image.id,
                "path": each.image.path,
                "width": each.image.width,
                "height": each.image.height,
                "similarity": each.similarity,
                "distance": each.distance,
            }
            for each in group.images
        ],
    }


def _show(groups: "list[pb.DuplicateGroup]", outcome: "pb.DuplicatesSummary") -> None:
    for group in groups:
        display.result(f"{group.count} {'copies' if group.copies else 'near copies'}")
        for each in group.images:
            size = display.faint(f"{each.image.width}×{each.image.height}")
            display.result(f"  {display.printable(each.image.path)}  {size}")
    display.note(
        f"{display.counted(outcome.images, 'picture')} compared, {display.counted(len(groups), 'group')} of duplicates"
    )
    if outcome.unread:
        display.warn(
            f"could not read, and did not compare, {display.counted(outcome.unread, 'picture')}: run xcomp index again"
        )
