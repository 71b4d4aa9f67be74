"""`xcomp edit`: changes an article bundle by one operation and writes it again."""

from pathlib import Path, PurePath
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.articles import output
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, progress
from xcomp_cli.requests.article import article_options
from xcomp_cli.requests.edit import SpotFlags, require_one, segment_operation, spot_operation
from xcomp_composer.article import proto
from xcomp_composer.article.model import Article, Segment
from xcomp_composer.bundle.writer import has_all_files, read_bundle
from xcomp_protos import composer_pb2 as pb

EVEN = 0.5  # of all probability; above it, one of the candidates is likelier to fit than none


def edit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The article bundle.", show_default=False)],
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="With --segment: the new words. Without it a model writes.")
    ] = "",
    spot: Annotated[
        int | None,
        typer.Option("--spot", min=0, metavar="N", help="The place after segment N, as in review.html."),
    ] = None,
    pick: Annotated[
        int | None, typer.Option("--pick", min=0, metavar="K", help="Take candidate K, from 0, best first.")
    ] = None,
    search: Annotated[str | None, typer.Option("--search", metavar="QUERY", help="Look for another image.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="ID", help="Show this image of the repository.")
    ] = None,
    caption: Annotated[
        str | None, typer.Option("--caption", metavar="TEXT", help="Print this; empty: nothing.")
    ] = None,
    alt: Annotated[str | None, typer.Option("--alt", metavar="TEXT", help="Say this to who cannot see it.")] = None,
    exclude: Annotated[bool, typer.Option("--exclude", help="Never show it here again, but the next best.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the image away.")] = False,
    lock: Annotated[bool, typer.Option("--lock", help="Keep the image as it is; again: no longer.")] = False,
    segment: Annotated[int | None, typer.Option("--segment", min=0, metavar="N", help="Segment N, from 0.")] = None,
    rewrite: Annotated[bool, typer.Option("--rewrite", help="TEXT, or other words, in its place.")] = False,
    expand: Annotated[bool, typer.Option("--expand", help="More words in its place.")] = False,
    shorten: Annotated[bool, typer.Option("--shorten", help="Fewer words in its place.")] = False,
    insert_before: Annotated[bool, typer.Option("--insert-before", help="TEXT, or a new segment, before it.")] = False,
    insert_after: Annotated[bool, typer.Option("--insert-after", help="TEXT, or a new segment, after it.")] = False,
    hint: Annotated[
        str, typer.Option("--hint", metavar="TEXT", help="With --segment, where a model writes: what to work in.")
    ] = "",
    fill: Annotated[bool, typer.Option("--fill", help="Look again for images for spots that stayed empty.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last change back.")] = False,
    repo: Annotated[
        str,
        typer.Option("--repo", metavar="NAME", help="The repository; if not the article's.", show_default=False),
    ] = "",
    where: options.Where = None,
    k: options.Candidates = 4,
    model: options.Model = "",
    writer: options.Writer = "",
    profile: options.Profile = "",
    lang: options.Lang = options.LanguageOption.AUTO,
    seed: options.Seed = 0,
    originals: options.Originals = False,
    allow_restricted: options.AllowRestricted = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
    composer: options.Composer = "",
) -> None:
    """Changes an article bundle and draws it again.

    One image, one segment, all empty spots, or the last change taken back. Numbers count from 0, as on review.html.
    """

    operation = require_one(
        spot_operation(
            spot,
            SpotFlags(
                pick=pick,
                search=search,
                image=image,
                caption=caption,
                alt=alt,
                exclude=exclude,
                remove=remove,
                lock=lock,
            ),
        ),
        segment_operation(
            segment,
            {
                "rewrite": rewrite,
                "expand": expand,
                "shorten": shorten,
                "insert-before": insert_before,
                "insert-after": insert_after,
            },
            text=options.parse_text(text, name="text"),
            hint=options.parse_text(hint, name="hint"),
        ),
        pb.EditOperation(fill=True) if fill else None,
        pb.EditOperation(undo=True) if undo else None,
    )
    article = read_bundle(folder)
    repo = repo or article.repository
    request_options = article_options(
        repo=repo, profile=profile, model=model, lang=lang, seed=seed, k=k, where=where,
        allow_restricted=allow_restricted, writer=writer,
    )  # fmt: skip
    request = pb.EditRequest(article=proto.to_proto(article), operation=operation, options=request_options)
    target = output.bundle_target(folder)
    with (
        clients.composer(composer, indexer_address=indexer) as composer_client,
        clients.indexer(indexer) as client,
        progress.show_wait("changing the article"),
    ):
        is_to_draw = (
            fill and not article.unfilled and not has_all_files(article)
        )  # no spot is empty, only the pages are missing
        changed = article if is_to_draw else proto.from_proto(composer_client.edit(request))
        changed = target.write(
            changed, output.image_fetcher(client, repo, originals=originals, allow_restricted=allow_restricted)
        )
    console.note(console.printable(_describe_change(article, changed)))
    if search and spot is not None and (nearest := _find_unfit_image(changed.segments[spot])):
        console.warn(console.printable(f"no image that is free here fits {search!r}: {nearest} is the nearest"))
    raise typer.Exit(output.report(changed, target, json=json, strict=False))


def _describe_change(before: Article, after: Article) -> str:
    """Describes the operation in the words of the article's history."""
    if len(after.history) < len(before.history):
        return f"undone: {before.history[-1].operation}"
    return f"done: {after.history[-1].operation}" if after.history else "done"


def _find_unfit_image(segment: Segment) -> str:
    """Returns the name of the chosen image if "none of them" was likelier than all candidates; else nothing."""
    illustration = segment.illustration
    fits = illustration and sum(each.probability or 0.0 for each in illustration.candidates) >= EVEN
    return PurePath(illustration.path).name if illustration and not fits else ""
