"""`xcomp chat`: asks a composer model a question, about images if some are given."""

import time
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.local_server import clients
from xcomp_cli.output import console
from xcomp_cli.requests.attachments import attach
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import InvalidRequest


def chat(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.", show_default=False)],
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="FILE", help="An image that the question is about; may be repeated."),
    ] = None,
    model: options.Model = "",
    profile: options.Profile = "",
    seed: options.Seed = 0,
    json: options.Json = False,
    indexer: options.Indexer = "",
    composer: options.Composer = "",
) -> None:
    """Answers a question, about images if there are any.

    This needs a model that talks: --model openai:MODEL, an InternLM-XComposer, or a local folder of one.
    """

    request = _request(question, image or [])
    request.options.model, request.options.profile, request.options.seed = model, profile, seed
    started = time.monotonic()
    # chat fetches no images, so a composer elsewhere needs no indexer
    with clients.composer(composer, indexer_address=indexer or composer) as composer_client:
        pieces = (event.text for event in composer_client.chat(request))
        if json:
            answer = "".join(pieces)
            seconds = round(time.monotonic() - started, 3)
            console.print_json({"question": question, "answer": answer, "seconds": seconds})
        else:
            for piece in pieces:
                console.print_piece(piece)
            console.print_result()


def _request(question: str, images: list[Path]) -> pb.ChatRequest:

    if not question.strip():
        raise InvalidRequest("the question is empty: ask something")
    attached = [attach(path, share=len(images)) for path in images]
    return pb.ChatRequest(turns=[pb.ChatTurn(text=options.parse_text(question, name="question"), images=attached)])
