"""`xcomp illustrate`: puts images into an existing text and leaves every word as it was."""

from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.articles import output
from xcomp_cli.articles.progress import watch
from xcomp_cli.articles.source import choose_target, read
from xcomp_cli.local_server import clients
from xcomp_cli.output import progress
from xcomp_cli.requests.article import article_options
from xcomp_protos import composer_pb2 as pb


def illustrate(
    article: Annotated[
        Path, typer.Argument(metavar="ARTICLE.md", help="A Markdown file, an .html, or a .txt.", show_default=False)
    ],
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
    profile: options.Profile = "",
    lang: options.Lang = options.LanguageOption.AUTO,
    seed: options.Seed = 0,
    in_place: options.InPlace = False,
    assets: options.Assets = None,
    url_prefix: options.UrlPrefix = None,
    originals: options.Originals = False,
    allow_restricted: options.AllowRestricted = False,
    strict: options.Strict = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
    composer: options.Composer = "",
) -> None:
    """Illustrates existing text, every word left as it was.

    The result is a folder, by default NAME.illustrated beside the article: article.html to look at, review.html to see
    why, article.md, article.json and the images; of an HTML page, article.html is the page itself. A second run
    replaces our images and adds none.
    """

    text, form = read(article)
    target = choose_target(article, out=out, is_zip=zip_, in_place=in_place, assets=assets, url_prefix=url_prefix)
    request_options = article_options(
        repo=repo, profile=profile, model=model, lang=lang, seed=seed, k=k, where=where, images=images,
        max_images=max_images, allow_restricted=allow_restricted, pool=pool, must_use=must_use, exclude=exclude,
    )  # fmt: skip
    with (
        clients.composer(composer, indexer_address=indexer) as composer_client,
        clients.indexer(indexer) as client,
    ):
        result = watch(
            composer_client.illustrate(pb.IllustrateRequest(text=text, format=form, options=request_options))
        )
        with progress.show_wait("fetching the images"):
            result = target.write(
                result, output.image_fetcher(client, repo, originals=originals, allow_restricted=allow_restricted)
            )
    raise typer.Exit(
        output.report(result, target, json=json, strict=strict, images=output.least_spots(images, max_images))
    )
