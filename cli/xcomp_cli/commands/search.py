"""`xcomp search`: finds images by words, by an image, or by both."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, hits, inline_images, progress
from xcomp_cli.output.hits import fetch_thumbnail
from xcomp_cli.output.message_json import to_json
from xcomp_cli.output.search_page import write_page
from xcomp_cli.requests.article import language_value
from xcomp_cli.requests.search import SearchQuery, parse_weights
from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient

THUMBNAIL_PX = 320
PATIENCE_S = 0.7


class Route(StrEnum):
    """Which spaces answer."""

    AUTO = "auto"
    EN = "en"
    ZH = "zh"
    ALL = "all"


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What the image shows, in English or Chinese.")] = "",
    image: Annotated[Path | None, typer.Option("--image", metavar="FILE", help="An image to be like.")] = None,
    image_weight: Annotated[
        float,
        typer.Option("--image-weight", metavar="X", min=0, max=100, help="Of the image; the words have 1."),
    ] = 1.0,
    without: Annotated[
        list[str] | None, typer.Option("--not", metavar="TEXT", help="What it should not show; may be repeated.")
    ] = None,
    unlike: Annotated[
        list[Path] | None,
        typer.Option("--not-image", metavar="FILE", help="An image to be unlike; may be repeated."),
    ] = None,
    not_weight: Annotated[
        float, typer.Option("--not-weight", metavar="X", min=0, max=100, help="Of each --not and --not-image.")
    ] = 0.5,
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, max=1000, help="Number of hits.")] = 10,
    repo: options.Repo = "default",
    lang: Annotated[Route, typer.Option("--lang", help="Language of the query.")] = Route.AUTO,
    where: options.Where = None,
    diverse: Annotated[
        float,
        typer.Option("--diverse", metavar="X", min=0, max=1, help="0: by score alone; 1: as different as possible."),
    ] = 0.0,
    collapse: Annotated[
        float,
        typer.Option(
            "--collapse",
            metavar="X",
            min=0,
            max=1,
            help="Show images that are alike once: from this cosine on; 0.98 folds most copies, 0 nothing.",
        ),
    ] = 0.0,
    min_confidence: Annotated[
        float,
        typer.Option("--min-confidence", metavar="X", min=0, max=1, help="Leave out what is less sure, 0 to 1."),
    ] = 0.0,
    space_weight: Annotated[
        list[str] | None,
        typer.Option("--space-weight", metavar="SPACE=X", help="Weight of a space where several answer; 0: none."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the hits.")] = None,
    show_images: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Show the hits in terminals that can show images.")
    ] = True,
    allow_restricted: options.AllowRestricted = False,
    profile: options.Profile = "",
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Finds images by words, by an image, or by both."""

    wanted = SearchQuery(query, image, image_weight, without or (), unlike or (), not_weight)
    request = pb.SearchRequest(
        repository=repo,
        queries=[pb.Query(parts=wanted.parts())],
        k=k,
        language=language_value(lang),
        where=[options.parse_text(each, name="filter of --where") for each in where or ()],
        diversity=diverse,
        allow_restricted=allow_restricted,
        profile=profile,
        collapse=collapse,
        min_confidence=min_confidence,
        space_weights=parse_weights(space_weight or ()),
    )
    with clients.indexer(indexer) as client:
        with progress.show_wait("searching; the first time, models are loaded", after_s=PATIENCE_S):
            response = client.search(request)
        found = response.results[0]
        if html:
            write_page(html, query, found, client=client)
        if json:
            console.print_json(_as_json(query, response))
        else:
            _show(found, client=client if show_images else None)
    if html:
        console.note(f"page: {console.printable(str(html))}")


def _as_json(query: str, response: pb.SearchResponse) -> console.Json:

    found = response.results[0]
    return {
        "query": query,
        "language": common.Language.Name(found.language).removeprefix("LANGUAGE_").lower(),
        **to_json(found, "spaces", "hits", "best_confidence"),
        "seconds": response.seconds,
    }


def _show(found: pb.QueryResult, *, client: IndexerClient | None) -> None:
    """Prints the hits: for a person on a terminal, else as lines of rank, score and path for a program."""
    if not found.hits and found.best_confidence:
        console.note(f"nothing fits: the best image has confidence {found.best_confidence:.2f}, below --min-confidence")
    elif not found.hits:
        console.note("nothing was found: is the repository empty, or does --where leave nothing?")
    if not sys.stdout.isatty():
        for hit in found.hits:
            console.print_result(f"{hit.rank}\t{hit.score:.4f}\t{console.printable(hit.image.path)}")
        return

    draw = inline_images.choose_draw() if client else None
    chinese = found.language == common.LANGUAGE_ZH
    for hit in found.hits:
        name = console.strong(console.printable(console.relative_path(hit.image.path)))
        sure = f" · confidence {hit.confidence:.0%}" if hit.confidence else ""
        more = f" · {hit.folded} more like it" if hit.folded else ""
        console.print_result(f"{hit.rank:3}  {name}  {console.faint(f'{hit.score:.3f}{sure}{more}')}")
        size = f"{hit.image.width}×{hit.image.height}"
        known = (hits.own_caption(hit.image, chinese=chinese), hits.likely_labels(hit.image, chinese=chinese), size)
        line = f"     {console.printable(' · '.join(part for part in known if part))}"
        console.print_result(console.fit(line, console.columns()))
        if draw and client and (thumbnail := fetch_thumbnail(client, hit.image, max_px=THUMBNAIL_PX)):
            draw(thumbnail[1])
