"""`xcomp compose`: writes an article from an instruction and illustrates it."""

import re
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.articles import output
from xcomp_cli.articles.progress import watch
from xcomp_cli.articles.source import read
from xcomp_cli.local_server import clients
from xcomp_cli.output import progress
from xcomp_cli.requests.article import article_options
from xcomp_cli.requests.attachments import attach
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import InvalidRequest

LONGEST_NAME = 48


def compose(
    instruction: Annotated[
        str, typer.Argument(metavar="INSTRUCTION", help="What the article is about.", show_default=False)
    ] = "",
    title: Annotated[str, typer.Option("--title", metavar="TITLE", help="The article's title.")] = "",
    requirements: Annotated[
        str, typer.Option("--requirements", metavar="TEXT", help="On style, length, audience.")
    ] = "",
    material: Annotated[
        Path | None, typer.Option("--material", metavar="FILE", help="Facts and texts to write from.")
    ] = None,
    outline: Annotated[
        Path | None, typer.Option("--outline", metavar="FILE", help="A point for each paragraph, one a line.")
    ] = None,
    keywords: Annotated[str, typer.Option("--keywords", metavar="A,B", help="Words that are to occur.")] = "",
    reference: Annotated[
        list[Path] | None,
        typer.Option("--reference", metavar="IMAGE", help="An image to write from; may be repeated."),
    ] = None,
    out: options.Out = None,
    zip_: options.Zip = False,
    images: options.Images = None,
    max_images: options.MaxImages = None,
    repo: options.Repo = "default",
    where: options.Where = None,
    must_use: options.MustUse = None,
    exclude: options.Exclude = None,
    k: options.Candidates = 4,
    pool: options.Pool = None,
    model: options.Model = "",
    writer: options.Writer = "",
    profile: options.Profile = "",
    lang: options.Lang = options.LanguageOption.AUTO,
    seed: options.Seed = 0,
    originals: options.Originals = False,
    allow_restricted: options.AllowRestricted = False,
    strict: options.Strict = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
    composer: options.Composer = "",
) -> None:
    """Writes an article from an instruction and illustrates it.

    This needs a model that writes: an endpoint, named by --model openai:MODEL, or with profile lite a small local one
    that drafts English text.
    """

    request_options = article_options(
        repo=repo, profile=profile, model=model, lang=lang, seed=seed, k=k, where=where, images=images,
        max_images=max_images, allow_restricted=allow_restricted, pool=pool, must_use=must_use, exclude=exclude,
        writer=writer,
    )  # fmt: skip
    request = _request(instruction, outline, keywords=keywords, reference=reference or [])
    request.title, request.requirements = title, requirements
    request.material = read(material)[0] if material else ""
    if not (request.instruction.strip() or request.title.strip()):
        raise InvalidRequest("the instruction is empty: say what the article is to be about, or give a --title")
    request.options.CopyFrom(request_options)
    output.check_out(out)
    with (
        clients.composer(composer, indexer_address=indexer) as composer_client,
        clients.indexer(indexer) as client,
    ):
        result = watch(composer_client.compose(request))
        target = output.bundle_or_zip(out, _free_folder(result.title), is_zip=zip_)
        with progress.show_wait("fetching the images"):
            result = target.write(
                result, output.image_fetcher(client, repo, originals=originals, allow_restricted=allow_restricted)
            )
    raise typer.Exit(
        output.report(result, target, json=json, strict=strict, images=output.least_spots(images, max_images))
    )


def _request(instruction: str, outline: Path | None, *, keywords: str, reference: list[Path]) -> pb.ComposeRequest:

    return pb.ComposeRequest(
        instruction=options.parse_text(instruction, name="instruction"),
        outline=read(outline)[0] if outline else "",
        keywords=[word.strip() for word in options.parse_text(keywords, name="keywords").split(",") if word.strip()],
        reference_images=[attach(path, share=len(reference)) for path in reference],
    )


def _free_folder(title: str) -> Path:
    """Returns a new folder named after the title: an earlier article is never overwritten."""
    name = re.sub(r"[^\w]+", "-", title.lower()).strip("-")[:LONGEST_NAME].strip("-") or "article"
    names = (f"{name}.illustrated", *(f"{name}-{number}.illustrated" for number in range(2, 1000)))
    return next(Path(each) for each in names if not (Path(each).exists() or Path(f"{each}.zip").exists()))
