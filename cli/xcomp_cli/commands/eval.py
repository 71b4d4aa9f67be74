"""`xcomp eval`: evaluations, each against choices of people."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.evaluation.asking import Asker
from xcomp_cli.evaluation.items import Item, read_items, with_picks
from xcomp_cli.evaluation.labelling import image_source, labelling_page
from xcomp_cli.evaluation.report import lines
from xcomp_cli.evaluation.summary import summarise
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, progress
from xcomp_cli.requests.article import article_options
from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import indexer_pb2 as pb

PAGE_PX = 640  # of an image on the labelling page

evaluate = typer.Typer(help="Measures how well images are chosen.", rich_markup_mode=None, add_completion=False)


@evaluate.callback()
def _group() -> None:
    """Makes a group of the one command that exists so far."""


@evaluate.command()
def selection(
    items: Annotated[
        Path,
        typer.Argument(metavar="ITEMS.jsonl", help="One choice a line; see docs/evaluation.md.", show_default=False),
    ],
    picks: Annotated[
        Path | None, typer.Option("--picks", metavar="FILE", help="What a person picked on the labelling page.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE", help="Write the labelling page there. By default ITEMS.html."),
    ] = None,
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Ask in other orders and without looks as well.")
    ] = True,
    repo: options.Repo = "default",
    model: options.Model = "",
    profile: options.Profile = "",
    lang: options.Lang = options.LanguageOption.AUTO,
    seed: options.Seed = 0,
    allow_restricted: options.AllowRestricted = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
    composer: options.Composer = "",
) -> None:
    """Compares choices of images with those of people.

    CLIP's best match, the released procedure and ours answer the same items, with bootstrap intervals; then what the
    order of the candidates does, when ours abstains, controls, and the margin that fits these choices. Items without
    a label make a page to label them on, blind, with the keyboard.
    """

    known = read_items(items)
    known = with_picks(known, picks) if picks else known
    labelled = [item for item in known if item.is_labelled]
    if page or not labelled:
        _write_page(
            [item for item in known if not item.is_labelled] or known, page or items.with_suffix(".html"),
            name=items.stem, repo=repo, seed=seed, allow_restricted=allow_restricted, json=json, indexer=indexer,
        )  # fmt: skip
        return
    if len(labelled) < len(known):
        console.note(f"{len(known) - len(labelled)} items are not labelled and left out: --page makes a page of them")

    request_options = article_options(
        repo=repo, profile=profile, model=model, lang=lang, seed=seed, allow_restricted=allow_restricted
    )
    figures = _measure(labelled, request_options, seed=seed, controls=controls, composer=composer, indexer=indexer)
    if json:
        console.print_json(figures)
        return

    for line in lines(figures):
        console.print_result(console.printable(line))


def _measure(
    items: Sequence[Item], request_options: cpb.Options, *, seed: int, controls: bool, composer: str, indexer: str
) -> dict[str, console.Json]:

    with clients.composer(composer, indexer_address=indexer) as composer_client, progress.show_bar("items") as advance:
        asker = Asker(composer_client, request_options, has_controls=controls)
        asked = list(asker.ask(items, lambda done: advance(done, len(items), what="choosing")))
    for reason, count in asker.failures.items():
        console.warn(console.printable(f"{count} of the choices failed: {reason}"))
    return {"model": asker.model, "space": asker.space, **summarise(asked, seed=seed)}


def _write_page(
    items: Sequence[Item], page: Path, *, name: str, repo: str, seed: int, allow_restricted: bool, json: bool,
    indexer: str,
) -> None:  # fmt: skip

    images = [image for item in items for image in (*item.candidates, *(shown.image for shown in item.shown))]
    with ExitStack() as stack:
        fetch = _fetcher(stack, indexer, repo, allow_restricted) if any(each.image_id for each in images) else _refuse
        with progress.show_wait("putting the images together"):
            page.write_text(labelling_page(items, image_source(fetch), name=name, seed=seed), encoding="utf-8")
    if json:
        console.print_json({"page": str(page), "items": len(items)})
        return
    console.print_result(console.printable(str(page)))
    console.note(
        f"{len(items)} items to label: open the page, pick, download, then run this again with "
        f"--picks {console.printable(name)}.picks.jsonl"
    )


def _fetcher(stack: ExitStack, indexer: str, repo: str, allow_restricted: bool) -> Callable[[str], tuple[str, bytes]]:

    client = stack.enter_context(clients.indexer(indexer))

    def fetch(image_id: str) -> tuple[str, bytes]:
        header, data = client.fetch(
            pb.FetchRequest(repository=repo, image_id=image_id, max_px=PAGE_PX, allow_restricted=allow_restricted)
        )
        return header.media_type, data

    return fetch


def _refuse(image_id: str) -> tuple[str, bytes]:
    raise AssertionError(f"no item names an id, and yet {image_id} is fetched")
