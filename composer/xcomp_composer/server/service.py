"""The gRPC service: messages in, the workshop's values out. Queries, captions and article text are never logged.

Streams are made at their own pace and handed out at the client's: a slow one holds no turn at a model.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import grpc

from xcomp_composer.article import proto
from xcomp_composer.article.events import Event
from xcomp_composer.illustrate import pipeline
from xcomp_composer.model_pool.pool import ILLUSTRATORS, ModelPool
from xcomp_composer.model_pool.pool import (
    NAME as RETRIEVAL,
)
from xcomp_composer.server import requests as asked
from xcomp_composer.server.composer import Composer, WritingRequest
from xcomp_composer.server.editor import Editor
from xcomp_composer.server.streaming import stream_in_thread
from xcomp_protos import composer_pb2 as pb
from xcomp_protos import composer_pb2_grpc as rpc
from xcomp_protos import indexer_pb2_grpc as indexer_rpc
from xcomp_protos.build import VERSION, build_id
from xcomp_protos.client import IndexerClient
from xcomp_protos.client.channel import dial
from xcomp_protos.errors import Cancelled, InvalidRequest, XcompError
from xcomp_protos.machine import resident_bytes
from xcomp_protos.server.interceptor import remaining_s
from xcomp_protos.tls import ClientTls

LONGEST_S = 600.0  # for a caller that sets no deadline

CAN = ("illustrate", "select", "edit")


@dataclass(frozen=True)
class Dependencies:
    """What the composer works with."""

    indexer: str  # address
    models: ModelPool
    token: str | None = None  # of the indexer
    tls: ClientTls | None = None  # for an indexer behind TLS
    profile: str = "clip"  # whose model `Describe` names


class Caller:
    """Who waits for the answer of a call, and for how long."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def remaining_s(self) -> float:
        """Seconds that are left; raises when there are none or nobody listens."""
        if self.is_gone():
            raise Cancelled("the caller went away")
        return remaining_s(self._context, default=LONGEST_S)

    def when_gone(self, callback: Callable[[], object]) -> None:
        """Runs the callback when the call ends."""
        self._context.add_callback(lambda: (callback(), None)[1])

    def is_gone(self) -> bool:
        """Whether nobody listens any more."""
        return not self._context.is_active()


class ComposerService(rpc.ComposerServicer):
    """Implements `xcomp.v1.Composer`."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._address = dependencies.indexer
        self._token = dependencies.token
        self._profile = dependencies.profile
        self._tls = dependencies.tls
        self._channel = dial(dependencies.indexer, token=dependencies.token, tls=dependencies.tls)
        stub = indexer_rpc.IndexerStub(self._channel)
        self._workshop = Composer(dependencies.models, stub, dependencies.indexer, profile=dependencies.profile)
        self._build = build_id()  # of the code that runs, whatever happens to its files

    def close(self) -> None:
        """Closes the channel to the indexer."""
        self._channel.close()

    def Illustrate(self, request: pb.IllustrateRequest, context: grpc.ServicerContext) -> Iterator[pb.ComposeEvent]:
        """Illustrates existing text; streams every step."""
        text, format_ = asked.text_of(request)
        order = _order(request.options, context, text=text, format_=format_)
        source = pipeline.Source(text, format_, seed=request.options.seed)
        return _streamed(self._workshop.illustrate(source, order), order)

    def Compose(self, request: pb.ComposeRequest, context: grpc.ServicerContext) -> Iterator[pb.ComposeEvent]:
        """Writes an article and illustrates it; streams every step."""
        order = _order(request.options, context, text=asked.instruction_of(request))
        brief = asked.brief_of(request, language=order.conditions.language)
        return _streamed(self._workshop.compose(brief, order), order)

    def Select(self, request: pb.SelectRequest, context: grpc.ServicerContext) -> pb.SelectResponse:
        """Makes the context-aware choice alone."""
        question = asked.question_of(request)
        order = _order(request.options, context, text=question.context)
        made, model = self._workshop.select(question, order)
        return pb.SelectResponse(
            choice=made.choice, probabilities=made.probabilities, mass=made.mass, model=model, needed=made.needed
        )

    def Edit(self, request: pb.EditRequest, context: grpc.ServicerContext) -> pb.EditResponse:
        """Changes an article."""
        editor = Editor(self._workshop, request.options, Caller(context))
        return pb.EditResponse(
            article=proto.to_proto(editor.changed(proto.from_proto(request.article), request.operation))
        )

    def Chat(self, request: pb.ChatRequest, context: grpc.ServicerContext) -> Iterator[pb.ChatEvent]:
        """Answers a question, where the model can."""
        if not request.turns or request.turns[-1].assistant:
            raise InvalidRequest("turns: the last one must be the user's")
        asked.words(request.turns[-1].text, "turns")
        caller = Caller(context)
        pieces = stream_in_thread(lambda: self._workshop.chat(request, caller), is_gone=caller.is_gone)
        return (pb.ChatEvent(text=piece) for piece in pieces)

    def Describe(
        self, request: pb.DescribeComposerRequest, context: grpc.ServicerContext
    ) -> pb.DescribeComposerResponse:
        """Says what the server is and what its model can do."""
        return pb.DescribeComposerResponse(
            version=VERSION,
            build=self._build,
            model=ILLUSTRATORS.get(self._profile, RETRIEVAL),
            can=_can(self._profile),
            indexer=self._address,
            indexer_status=self._indexer_status(),
            memory_bytes=resident_bytes(),
        )

    def _indexer_status(self) -> str:
        try:
            with IndexerClient(self._address, token=self._token, tls=self._tls) as client:
                return "SERVING" if client.healthy(timeout_s=2.0) else "NOT_SERVING"
        except XcompError:
            return "UNREACHABLE"


def _order(
    options: pb.Options, context: grpc.ServicerContext, *, text: str, format_: str = "markdown"
) -> WritingRequest:
    conditions = asked.conditions_of(options, text=text, format_=format_)
    return WritingRequest(options, conditions, asked.wish_of(options), Caller(context))


def _streamed(events: Generator[Event], order: WritingRequest) -> Iterator[pb.ComposeEvent]:
    return map(proto.event_to_proto, stream_in_thread(lambda: events, is_gone=order.caller.is_gone))


def _can(profile: str) -> tuple[str, ...]:
    """What the profile's models can do without another one being named."""
    return CAN if ILLUSTRATORS.get(profile, RETRIEVAL) == RETRIEVAL else (*CAN, "compose", "chat")
