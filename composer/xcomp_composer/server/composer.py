"""Where articles are made for requests: the models, the indexer, and the lanes before them.

It keeps no session: an article travels with every call that changes it. Work waits in bounded lanes, ends with the
caller's deadline, and stops when the caller is gone.
"""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

from xcomp_composer.article.events import Event, TextDelta
from xcomp_composer.article.model import Article, Candidate, Illustration, Unfilled
from xcomp_composer.illustrate import pipeline
from xcomp_composer.illustrate.base import IllustrationOptions, Selection, SelectionRequest
from xcomp_composer.illustrate.retrieval.illustrator import RetrievalIllustrator
from xcomp_composer.illustrate.vlm.illustrator import VlmIllustrator
from xcomp_composer.illustrate.vlm.select import nearest
from xcomp_composer.illustrate.vlm.writing import answer, reworded, write
from xcomp_composer.indexer_client.call_context import CallContext
from xcomp_composer.indexer_client.repository import Conditions, RepositoryClient
from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_composer.model_pool.pool import DRAFT, ModelPool
from xcomp_composer.model_pool.pool import (
    NAME as RETRIEVAL,
)
from xcomp_composer.model_pool.session import LoadedModel, ModelSession
from xcomp_composer.server import requests as asked
from xcomp_model.base import Brief, Change, Turn
from xcomp_protos import composer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as indexer_rpc
from xcomp_protos.errors import NotFound, Unsupported

_LIGHT = 4  # at once
_ARTICLES = 16  # of language models at once; they take turns at the models, call by call
_TOGETHER = 32  # with those that wait, in each lane: half of the calls that a server takes


@dataclass(frozen=True)
class WritingRequest:
    """What a request wants, and who waits for it."""

    options: pb.Options
    conditions: Conditions
    wish: IllustrationOptions
    context: CallContext


class Composer:
    """Makes articles, choices and words."""

    def __init__(self, models: ModelPool, stub: indexer_rpc.IndexerStub, address: str, *, profile: str) -> None:
        self._models = models
        self._stub = stub
        self._address = address
        self._profile = profile
        self._light = FairQueue(width=_LIGHT, waiting=_TOGETHER - _LIGHT, name="light")
        self._heavy = FairQueue(width=_ARTICLES, waiting=_TOGETHER - _ARTICLES, name="heavy")

    def illustrate(self, source: pipeline.Source, order: WritingRequest) -> Generator[Event]:
        """Illustrates existing text."""
        setting = self._setting(order)
        with self._lane(setting).enter(order.context.remaining_s):
            yield from _heard(pipeline.illustrate(source, order.wish, setting), order.context)

    def compose(self, brief: Brief, order: WritingRequest) -> Generator[Event]:
        """Writes an article and illustrates it."""
        setting = self._setting(order)
        with self._heavy.enter(order.context.remaining_s):
            served = self._writer(brief, setting, order)
            started, pieces = time.monotonic(), []
            consultation = ModelSession(served, order.context, seed=order.options.seed)
            for piece in write(consultation, brief, in_lines=served.writes_lines):
                pieces.append(piece)
                yield TextDelta(piece)
            source = pipeline.Source(
                "".join(pieces),
                seed=order.options.seed,
                writer=served.model.name,
                is_draft=served.model.name.startswith(DRAFT),
                seconds={"write": round(time.monotonic() - started, 3)},
            )
            yield from _heard(pipeline.illustrate(source, order.wish, setting), order.context)

    def fill(self, article: Article, order: WritingRequest) -> tuple[dict[int, Illustration], tuple[Unfilled, ...]]:
        """Looks again for pictures for the empty spots of an article."""
        setting = self._setting(order)
        with self._lane(setting).enter(order.context.remaining_s):
            pictures, unfilled = pipeline.fill(article, order.wish, setting)
        return dict(pictures), unfilled

    def select(self, question: SelectionRequest, order: WritingRequest) -> tuple[Selection, str]:
        """Makes the context-aware choice alone; returns it and who made it, a model or a space."""
        if question.procedure == "similarity":
            with self._light.enter(order.context.remaining_s):
                repository = self._repository(order)
                return nearest(question, repository), repository.space
        setting = self._setting(order)
        with self._lane(setting).enter(order.context.remaining_s):
            return setting.illustrator.select(question, setting.repository), setting.illustrator.name

    def find(self, query: str, language: str, order: WritingRequest) -> tuple[Candidate, ...]:
        """Finds pictures for a query of the user's: no model is asked."""
        with self._light.enter(order.context.remaining_s):
            return RetrievalIllustrator().find(query, language, self._repository(order), k=order.wish.k)

    def image(self, image_id: str, order: WritingRequest) -> Candidate:
        """Returns an image of the repository as a candidate.

        Raises:
            NotFound: there is none of that id that the request may see.
        """
        with self._light.enter(order.context.remaining_s):
            hits = self._repository(order).hits_of([image_id])
        if not hits:
            raise NotFound(f"image_id: there is no image {image_id!r} in {order.conditions.repository!r}")
        return replace(hits[0].candidate(0.0), spaces={})  # nothing was searched for

    def reword(self, article: Article, segment: int, change: Change, hint: str, order: WritingRequest) -> str:
        """Has a model write a segment in other words, or a new one beside it."""
        with self._heavy.enter(order.context.remaining_s):
            served = self._models.editor(
                order.options.writer_model or order.options.model,
                order.options.profile or article.profile,
                order.context.remaining_s,
            )
            consultation = ModelSession(served, order.context, seed=order.options.seed)
            return reworded(consultation, article, segment, change, hint=hint)

    def chat(self, request: pb.ChatRequest, context: CallContext) -> Generator[str]:
        """Answers the last turn, where the model can."""
        with self._heavy.enter(context.remaining_s):
            profile = request.options.profile or self._profile
            served = self._models.talker(request.options.model, profile, context.remaining_s)
            turns = [
                Turn("assistant" if turn.assistant else "user", turn.text, asked.pictures_of(turn.images, "turns"))
                for turn in request.turns
            ]
            yield from answer(ModelSession(served, context, seed=request.options.seed), turns)

    def _writer(self, brief: Brief, setting: pipeline.Setting, order: WritingRequest) -> LoadedModel:
        name = order.options.writer_model or order.options.model
        served = self._models.writer(name, setting.profile, brief.language, order.context.remaining_s)
        if brief.references and not served.model.capabilities.sees:
            raise Unsupported(f"reference_images: {served.model.name} does not see pictures: leave them out")
        return served

    def _repository(self, order: WritingRequest) -> RepositoryClient:
        repository = RepositoryClient(self._stub, self._address, order.conditions, order.context)
        repository.profile()
        return repository

    def _setting(self, order: WritingRequest) -> pipeline.Setting:
        repository = RepositoryClient(self._stub, self._address, order.conditions, order.context)
        profile = repository.profile()
        served = self._models.illustrator(order.options.model, profile, order.context.remaining_s)
        consultation = ModelSession(served, order.context, seed=order.options.seed) if served else None
        return pipeline.Setting(
            repository, profile, VlmIllustrator(consultation) if consultation else RetrievalIllustrator()
        )

    def _lane(self, setting: pipeline.Setting) -> FairQueue:
        return self._light if setting.illustrator.name == RETRIEVAL else self._heavy


def _heard(events: Iterator[Event], context: CallContext) -> Iterator[Event]:
    """Passes events on while somebody listens."""
    for event in events:
        if context.is_cancelled():
            return
        yield event
