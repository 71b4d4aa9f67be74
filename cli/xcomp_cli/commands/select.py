"""`xcomp select`: the context-aware choice alone, a probability for each candidate."""

import re
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.articles.source import read
from xcomp_cli.local_server import clients
from xcomp_cli.output import console
from xcomp_cli.output.message_json import to_json
from xcomp_cli.requests.article import article_options
from xcomp_cli.requests.attachments import attach
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import InvalidRequest

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def select(
    context: Annotated[
        Path, typer.Option("--context", metavar="FILE", help="The text before the image.", show_default=False)
    ],
    candidate: Annotated[
        list[str] | None,
        typer.Option("--candidate", metavar="IMAGE", help="An image's file or its id in the repository; repeated."),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="IMAGE", help="More candidates.")] = None,
    repo: options.Repo = "default",
    model: options.Model = "",
    profile: options.Profile = "",
    lang: options.Lang = options.LanguageOption.AUTO,
    seed: options.Seed = 0,
    json: options.Json = False,
    indexer: options.Indexer = "",
    composer: options.Composer = "",
) -> None:
    """Chooses the image that fits a text best.

    Each candidate gets a probability; if nothing fits, none is chosen.
    """

    names = [*(candidate or ()), *(more or ())]
    if not names:
        raise InvalidRequest("there is nothing to choose from: name images with --candidate IMAGE")
    request = pb.SelectRequest(
        context=read(context)[0],
        candidates=[_candidate(name, share=len(names)) for name in names],
        options=article_options(repo=repo, profile=profile, model=model, lang=lang, seed=seed),
    )
    with clients.composer(composer, indexer_address=indexer) as composer_client:
        answer = composer_client.select(request)
    choice = answer.choice if answer.HasField("choice") else None
    if json:
        console.print_json(to_json(answer))
        return
    for number, (name, probability) in enumerate(zip(names, answer.probabilities, strict=True)):
        mark = "→" if number == choice else " "
        console.print_result(f"{mark} {probability:6.1%}  {console.printable(name)}")
    if choice is None:
        console.note("nothing fits")


def _candidate(name: str, *, share: int) -> pb.SelectCandidate:

    if _ID.fullmatch(name):
        return pb.SelectCandidate(image_id=name)
    return pb.SelectCandidate(image=attach(Path(name), share=share))
