"""`xcomp search`: finds images by words, by an image, or by both."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, hit_list, progress
from xcomp_cli.output.message_json import to_json
from xcomp_cli.output.search_page import write_page
from xcomp_cli.requests.article import language_value
from xcomp_cli.requests.query_language import find_unknown_language, name_languages
from xcomp_cli.requests.search import SearchQuery, parse_weights
from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import NotFound, Unsupported

PATIENCE_S = 0.7


class Route(StrEnum):
    """Which spaces answer."""

    AUTO = "auto"
    EN = "en"
    ZH = "zh"
    ALL = "all"


def search(
    query: Annotated[
        str | None,
        typer.Argument(metavar="QUERY", help="What the image shows, in English or Chinese; without one, all images."),
    ] = None,
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
    k: Annotated[int, typer.Option("-k", "--k", metavar="N", min=1, max=1000, help="Number of hits.")] = 10,
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
    list_: Annotated[bool, typer.Option("-l", "--list", help="Print paths alone, one on a line.")] = False,
    null: Annotated[bool, typer.Option("-0", "--null", help="Print paths alone, for xargs -0.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the page of --html, or else the best image.")] = False,
    show_images: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Show the hits in terminals that can show images.")
    ] = True,
    allow_restricted: options.AllowRestricted = False,
    profile: options.Profile = "",
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Finds images by words, by an image, or by both."""

    wanted = SearchQuery(query or "", image, image_weight, without or (), unlike or (), not_weight)
    is_listing = query is None and wanted.is_empty()
    request = pb.SearchRequest(
        repository=repo,
        queries=[] if is_listing else [pb.Query(parts=wanted.parts())],
        k=k,
        language=language_value(lang),
        where=[options.parse_text(each, name="--where") for each in where or ()],
        diversity=diverse,
        allow_restricted=allow_restricted,
        profile=profile,
        collapse=collapse,
        min_confidence=min_confidence,
        space_weights=parse_weights(space_weight or ()),
    )
    with clients.indexer(indexer) as client:
        with progress.show_wait("searching; the first time, models are loaded", after_s=PATIENCE_S):
            response = _list_images(client, request) if is_listing else client.search(request)
        found = response.results[0]
        if html:
            write_page(html, query or "", found, client=client)
        _warn(client, request, found, query=query or "")
        if json:
            console.print_json(_as_json(query or "", response))
        elif list_ or null:
            hit_list.print_paths(found.hits, end="\0" if null else "\n")
        else:
            shown = client if show_images else None
            hit_list.print_hits(found.hits, chinese=found.language == common.LANGUAGE_ZH, client=shown)
    if html:
        console.note(f"page: {console.printable(str(html))}")
    if open_:
        _open(html, found)


def _open(page: Path | None, found: pb.QueryResult) -> None:
    """Opens the page, or else the best image, in the program that the system has for it.

    Raises:
        NotFound: there is nothing to open on this machine.
    """
    target = str(page or (found.hits[0].image.path if found.hits else ""))
    if not target:
        return
    if not Path(target).exists():
        raise NotFound(f"{target} is not on this machine: omit --open")
    if typer.launch(target):
        raise Unsupported(f"no program opens {target}: omit --open")


def _list_images(client: IndexerClient, request: pb.SearchRequest) -> pb.SearchResponse:
    """Returns the images of a repository as hits without scores, in the order of their ids."""
    page = client.list_images(
        pb.ListRequest(
            repository=request.repository,
            where=request.where,
            page_size=request.k,
            allow_restricted=request.allow_restricted,
        )
    )
    hits = [common.Hit(image=image, rank=rank) for rank, image in enumerate(page.images, start=1)]
    if page.next_page_token:
        console.note(f"these are the first {len(hits)}: -k N shows more")
    return pb.SearchResponse(results=[pb.QueryResult(hits=hits)])


def _as_json(query: str, response: pb.SearchResponse) -> console.Json:

    found = response.results[0]
    return {
        "query": query,
        "language": common.Language.Name(found.language).removeprefix("LANGUAGE_").lower(),
        **to_json(found, "spaces", "hits", "best_confidence"),
        "seconds": response.seconds,
    }


def _warn(client: IndexerClient, request: pb.SearchRequest, found: pb.QueryResult, *, query: str) -> None:
    """Prints why nothing was found, and whether a space understands the query."""
    if found.hits and query.isascii():
        return
    described = next(iter(client.describe(request.repository).repositories), pb.Repository())
    languages = {each for space in described.spaces for each in space.languages}
    unknown = find_unknown_language(query, languages)
    if unknown:
        known = name_languages(languages)
        console.warn(f"the query looks like {unknown}, and this repository understands {known}: hits are guesses")
    if not found.hits:
        console.note(_explain_nothing(request, found, images=described.images))


def _explain_nothing(request: pb.SearchRequest, found: pb.QueryResult, *, images: int) -> str:
    """Returns which of several things left nothing, and the way out."""
    if found.best_confidence:
        best, limit = f"{found.best_confidence:.2f}", f"{request.min_confidence:g}"
        return f"nothing fits: the best image has confidence {best}, below --min-confidence {limit}"
    if not images:
        return f"the repository {console.printable(request.repository)} is empty: xcomp index FOLDER fills it"
    count = console.format_count(images, "image")
    if request.where:
        hidden = "" if request.allow_restricted else ", or those are restricted: --allow-restricted shows them"
        return f"--where matches none of {count}{hidden}"
    return f"all of {count} are restricted (internal, expired or embargoed): --allow-restricted shows them"
