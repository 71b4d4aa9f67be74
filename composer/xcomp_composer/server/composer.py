"""Makes articles, choices and words for requests, with the models and the indexer of this server.

It keeps no session: an article travels with every call that changes it. Work waits in bounded queues, ends with the
deadline of its call, and stops when the call is cancelled. It does not depend on protobuf.
"""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xcomp_composer.article.events import Event, TextDelta
from xcomp_composer.article.model import Article, Candidate, Illustration, Unfilled
from xcomp_composer.illustrate import pipeline
from xcomp_composer.illustrate.base import IllustrationOptions, Selection, SelectionRequest
from xcomp_composer.illustrate.retrieval.illustrator import RetrievalIllustrator
from xcomp_composer.illustrate.vlm.illustrator import VlmIllustrator
from xcomp_composer.illustrate.vlm.select import select_nearest
from xcomp_composer.illustrate.vlm.writing import answer, reword, write
from xcomp_composer.indexer_client.call_context import CallContext
from xcomp_composer.indexer_client.connection import IndexerConnection
from xcomp_composer.indexer_client.repository import Conditions, RepositoryClient
from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_composer.model_pool.pool import DRAFT, RETRIEVAL, ModelPool
from xcomp_composer.model_pool.session import LoadedModel, ModelSession
from xcomp_model.base import Brief, Change, Turn
from xcomp_protos import indexer_pb2_grpc as indexer_rpc
from xcomp_protos.errors import InvalidRequest, NotFound, Unsupported

_LIGHT = 4  # calls without a language model that run at once
_HEAVY = 16  # articles of language models that run at once; they take turns at the models, call by call
_QUEUE_LENGTH = 32  # running and waiting calls of each queue: half of the calls that a server accepts


@dataclass(frozen=True)
class ModelOptions:
    """The models that a request names.

    Attributes:
        model: the model that illustrates; empty: the one of the profile.
        writer: the model that writes; empty: `model`.
        profile: of the request; empty: the recorded one of the repository.
        seed: for sampling.
    """

    model: str = ""
    writer: str = ""
    profile: str = ""
    seed: int = 0


@dataclass(frozen=True)
class ArticleRequest:
    """What a request says about images and models, and its call.

    Attributes:
        conditions: the language may be empty in a request to edit: that of the article is used.
    """

    conditions: Conditions
    options: IllustrationOptions
    models: ModelOptions
    context: CallContext


class Composer:
    """Writes, illustrates and changes articles."""

    def __init__(self, models: ModelPool, stub: indexer_rpc.IndexerStub, address: str, *, profile: str) -> None:
        self._models = models
        self._stub = stub
        self._address = address
        self._profile = profile
        self._light = FairQueue(width=_LIGHT, waiting=_QUEUE_LENGTH - _LIGHT, name="light")
        self._heavy = FairQueue(width=_HEAVY, waiting=_QUEUE_LENGTH - _HEAVY, name="heavy")

    def illustrate(self, source: pipeline.Source, request: ArticleRequest) -> Generator[Event]:
        """Illustrates an existing text."""
        setting = self._open_setting(request)
        with self._queue_for(setting).enter(request.context.remaining_s):
            yield from _until_cancelled(pipeline.illustrate(source, request.options, setting), request.context)

    def compose(self, brief: Brief, request: ArticleRequest) -> Generator[Event]:
        """Writes an article and illustrates it."""
        setting = self._open_setting(request)
        with self._heavy.enter(request.context.remaining_s):
            loaded = self._load_writer(brief, setting, request)
            started, pieces = time.monotonic(), []
            session = ModelSession(loaded, request.context, seed=request.models.seed)
            for piece in write(session, brief):
                pieces.append(piece)
                yield TextDelta(piece)
            source = pipeline.Source(
                "".join(pieces),
                seed=request.models.seed,
                writer=loaded.model.name,
                is_draft=loaded.model.name.startswith(DRAFT),
                seconds={"write": round(time.monotonic() - started, 3)},
            )
            yield from _until_cancelled(pipeline.illustrate(source, request.options, setting), request.context)

    def fill(
        self, article: Article, request: ArticleRequest
    ) -> tuple[Mapping[int, Illustration], tuple[Unfilled, ...]]:
        """Searches again for images for the empty spots of an article."""
        setting = self._open_setting(request)
        with self._queue_for(setting).enter(request.context.remaining_s):
            return pipeline.fill(article, request.options, setting)

    def select(self, selection: SelectionRequest, request: ArticleRequest) -> tuple[Selection, str]:
        """Chooses among candidates; returns the choice and the name of the model or space that made it."""
        if selection.procedure == "similarity":
            with self._light.enter(request.context.remaining_s):
                repository = self._open_repository(request)
                return select_nearest(selection, repository), repository.space
        setting = self._open_setting(request)
        with self._queue_for(setting).enter(request.context.remaining_s):
            return setting.illustrator.select(selection, setting.repository), setting.illustrator.name

    def find(self, query: str, language: str, request: ArticleRequest) -> tuple[Candidate, ...]:
        """Finds images for a query of the user, without a language model; reasons are in `language`."""
        with self._light.enter(request.context.remaining_s):
            repository = self._open_repository(request)
            return RetrievalIllustrator().find(query, language, repository, k=request.options.k)

    def get_image(self, image_id: str, request: ArticleRequest) -> Candidate:
        """Returns an image of the repository as a candidate.

        Raises:
            NotFound: the repository has no such image, or the request may not see it.
        """
        with self._light.enter(request.context.remaining_s):
            images = self._open_repository(request).get_images([image_id])
        if not images:
            repository = request.conditions.repository
            raise NotFound(f"image_id: there is no image {image_id!r} in {repository!r}")
        return images[0].to_candidate(0.0)

    def reword(self, article: Article, segment: int, change: Change, *, hint: str, request: ArticleRequest) -> str:
        """Has a model rewrite a segment, or write a new one beside it."""
        models, context = request.models, request.context
        with self._heavy.enter(context.remaining_s):
            profile = models.profile or article.profile
            loaded = self._models.load_editor(models.writer or models.model, profile, context.remaining_s)
            return reword(ModelSession(loaded, context, seed=models.seed), article, segment, change, hint=hint)

    def chat(self, turns: Sequence[Turn], models: ModelOptions, context: CallContext) -> Generator[str]:
        """Answers the last turn, if the model can chat."""
        with self._heavy.enter(context.remaining_s):
            loaded = self._models.load_chat(models.model, models.profile or self._profile, context.remaining_s)
            yield from answer(ModelSession(loaded, context, seed=models.seed), turns)

    def _load_writer(self, brief: Brief, setting: pipeline.Setting, request: ArticleRequest) -> LoadedModel:
        name = request.models.writer or request.models.model
        loaded = self._models.load_writer(
            name, setting.repository.profile, language=brief.language, check=request.context.remaining_s
        )
        if brief.references and not loaded.model.capabilities.sees:
            raise Unsupported(f"reference_images: {loaded.model.name} does not see images: leave them out")
        return loaded

    def _open_repository(self, request: ArticleRequest) -> RepositoryClient:
        if not request.conditions.repository:
            raise InvalidRequest("options.repository: is empty: name the repository that holds the images")
        connection = IndexerConnection(self._stub, self._address, request.context)
        return RepositoryClient.open(connection, request.conditions)

    def _open_setting(self, request: ArticleRequest) -> pipeline.Setting:
        repository = self._open_repository(request)
        loaded = self._models.load_illustrator(request.models.model, repository.profile, request.context.remaining_s)
        if not loaded:
            return pipeline.Setting(repository, RetrievalIllustrator())
        session = ModelSession(loaded, request.context, seed=request.models.seed)
        return pipeline.Setting(repository, VlmIllustrator(session))

    def _queue_for(self, setting: pipeline.Setting) -> FairQueue:
        return self._light if setting.illustrator.name == RETRIEVAL else self._heavy


def _until_cancelled(events: Iterator[Event], context: CallContext) -> Iterator[Event]:
    for event in events:
        if context.is_cancelled():
            return
        yield event
