"""The gRPC service: reads messages, calls the composer, and writes messages. It never logs queries, captions or texts.

A stream is produced at its own pace and sent at the client's, so that a slow client does not occupy a model.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import grpc

from xcomp_composer.article import proto
from xcomp_composer.article.events import Event
from xcomp_composer.indexer_client.call_context import CallContext
from xcomp_composer.model_pool.pool import ILLUSTRATORS, RETRIEVAL, ModelPool
from xcomp_composer.server import requests
from xcomp_composer.server.composer import Composer
from xcomp_composer.server.editor import Editor
from xcomp_composer.server.streaming import stream_in_thread
from xcomp_protos import composer_pb2 as pb
from xcomp_protos import composer_pb2_grpc as rpc
from xcomp_protos import indexer_pb2_grpc as indexer_rpc
from xcomp_protos.build import VERSION, build_id
from xcomp_protos.client import IndexerClient
from xcomp_protos.client.channel import dial
from xcomp_protos.errors import Cancelled, XcompError
from xcomp_protos.machine import resident_bytes
from xcomp_protos.server.interceptor import remaining_s
from xcomp_protos.tls import ClientTls

DEFAULT_DEADLINE_S = 600.0  # of a call whose client sets none

CAN = ("illustrate", "select", "edit")


@dataclass(frozen=True)
class Dependencies:
    """What the composer works with.

    Attributes:
        indexer: address of the indexer.
        token: for the indexer.
        tls: for an indexer behind TLS.
        profile: `Describe` names the model of this profile.
    """

    indexer: str
    models: ModelPool
    token: str | None = None
    tls: ClientTls | None = None
    profile: str = "clip"


class GrpcCallContext:
    """The deadline and the cancellation of a call that this server answers."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def remaining_s(self) -> float:
        """Returns the seconds that are left; raises DeadlineExceeded or Cancelled when there are none."""
        if self.is_cancelled():
            raise Cancelled("the caller went away")
        return remaining_s(self._context, default=DEFAULT_DEADLINE_S)

    def is_cancelled(self) -> bool:
        """Whether the caller does not wait for the answer any more."""
        return not self._context.is_active()

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Runs the callback when the call ends, cancelled or not."""
        self._context.add_callback(lambda: (callback(), None)[1])


class ComposerService(rpc.ComposerServicer):
    """Implements `xcomp.v1.Composer`."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._address = dependencies.indexer
        self._token = dependencies.token
        self._profile = dependencies.profile
        self._tls = dependencies.tls
        self._channel = dial(dependencies.indexer, token=dependencies.token, tls=dependencies.tls)
        stub = indexer_rpc.IndexerStub(self._channel)
        self._composer = Composer(dependencies.models, stub, dependencies.indexer, profile=dependencies.profile)
        self._build = build_id()  # of the running code: its files may change later

    def close(self) -> None:
        """Closes the channel to the indexer."""
        self._channel.close()

    def Illustrate(self, request: pb.IllustrateRequest, context: grpc.ServicerContext) -> Iterator[pb.ComposeEvent]:
        """Illustrates an existing text; streams every step."""
        source, call = requests.read_source(request), GrpcCallContext(context)
        wanted = requests.read_options(request.options, call, text=source.text, format_=source.format)
        return _stream(self._composer.illustrate(source, wanted), call)

    def Compose(self, request: pb.ComposeRequest, context: grpc.ServicerContext) -> Iterator[pb.ComposeEvent]:
        """Writes an article and illustrates it; streams every step."""
        call = GrpcCallContext(context)
        wanted = requests.read_options(request.options, call, text=requests.read_topic(request))
        brief = requests.read_brief(request, language=wanted.conditions.language)
        return _stream(self._composer.compose(brief, wanted), call)

    def Select(self, request: pb.SelectRequest, context: grpc.ServicerContext) -> pb.SelectResponse:
        """Chooses among candidates for a spot."""
        selection, call = requests.read_selection(request), GrpcCallContext(context)
        wanted = requests.read_options(request.options, call, text=selection.context)
        made, model = self._composer.select(selection, wanted)
        return pb.SelectResponse(
            choice=made.choice, probabilities=made.probabilities, mass=made.mass, model=model, needed=made.needed
        )

    def Edit(self, request: pb.EditRequest, context: grpc.ServicerContext) -> pb.EditResponse:
        """Changes an article."""
        article, operation = requests.read_article(request.article), requests.read_operation(request.operation)
        editor = Editor(self._composer, requests.read_options(request.options, GrpcCallContext(context)))
        return pb.EditResponse(article=proto.to_proto(editor.apply(operation, article)))

    def Chat(self, request: pb.ChatRequest, context: grpc.ServicerContext) -> Iterator[pb.ChatEvent]:
        """Answers a question, if the model can chat."""
        turns, models, call = (
            requests.read_turns(request),
            requests.read_models(request.options),
            GrpcCallContext(context),
        )
        pieces = stream_in_thread(lambda: self._composer.chat(turns, models, call), is_cancelled=call.is_cancelled)
        return (pb.ChatEvent(text=piece) for piece in pieces)

    def Describe(
        self, request: pb.DescribeComposerRequest, context: grpc.ServicerContext
    ) -> pb.DescribeComposerResponse:
        """Says what the server is and what its model can do."""
        return pb.DescribeComposerResponse(
            version=VERSION,
            build=self._build,
            model=ILLUSTRATORS.get(self._profile, RETRIEVAL),
            can=_list_abilities(self._profile),
            indexer=self._address,
            indexer_status=self._check_indexer(),
            memory_bytes=resident_bytes(),
        )

    def _check_indexer(self) -> str:
        try:
            with IndexerClient(self._address, token=self._token, tls=self._tls) as client:
                return "SERVING" if client.healthy(timeout_s=2.0) else "NOT_SERVING"
        except XcompError:
            return "UNREACHABLE"


def _stream(events: Generator[Event], context: CallContext) -> Iterator[pb.ComposeEvent]:
    return map(proto.event_to_proto, stream_in_thread(lambda: events, is_cancelled=context.is_cancelled))


def _list_abilities(profile: str) -> tuple[str, ...]:
    """Returns what the models of the profile can do if a request names no other model."""
    return CAN if ILLUSTRATORS.get(profile, RETRIEVAL) == RETRIEVAL else (*CAN, "compose", "chat")
