"""The gRPC service: messages in, the pipeline's values out. Queries, captions and article text are never logged.

It keeps no session: an article travels with every call that changes it. Work waits in bounded lanes, ends with the
caller's deadline, and stops when the caller is gone.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc

from xcomp_composer import edit, pipeline, wire
from xcomp_composer import request as asked
from xcomp_composer.article import Article
from xcomp_composer.consult import Consultation
from xcomp_composer.events import Event, TextDelta
from xcomp_composer.indexer import Conditions, Repository
from xcomp_composer.lane import Lane
from xcomp_composer.models import DRAFT, ILLUSTRATORS, Models
from xcomp_composer.retrieval import NAME as RETRIEVAL
from xcomp_composer.retrieval import Retrieval
from xcomp_composer.trial import nearest
from xcomp_composer.vision import Vision
from xcomp_composer.write import answer, reworded, write
from xcomp_model.base import Brief, Change, Turn
from xcomp_protos import composer_pb2 as pb
from xcomp_protos import composer_pb2_grpc as rpc
from xcomp_protos import indexer_pb2_grpc as indexer_rpc
from xcomp_protos.build import VERSION, build_id
from xcomp_protos.client import IndexerClient
from xcomp_protos.transport.channel import dial
from xcomp_protos.transport.errors import Cancelled, InvalidRequest, Unsupported, XcompError
from xcomp_protos.transport.guard import remaining_s
from xcomp_protos.transport.tls import ClientTls

LONGEST_S = 600.0  # for a caller that sets no deadline
WAITING = 28  # articles; with those at work 32, half of the calls that a server takes
CAN = ("illustrate", "select", "edit")
_CHANGES: dict[int, Change] = {
    pb.EditSegment.KIND_REWRITE: "rewrite",
    pb.EditSegment.KIND_EXPAND: "expand",
    pb.EditSegment.KIND_SHORTEN: "shorten",
    pb.EditSegment.KIND_INSERT_BEFORE: "insert_before",
    pb.EditSegment.KIND_INSERT_AFTER: "insert_after",
}
_PUT = {"insert_before": edit.insert_before, "insert_after": edit.insert_after}


@dataclass(frozen=True)
class Dependencies:
    """What the composer works with."""

    indexer: str  # address
    models: Models
    token: str | None = None  # of the indexer
    tls: ClientTls | None = None  # for an indexer behind TLS
    profile: str = "clip"  # whose model `Describe` names


class _Caller:
    """Who waits for the answer, and for how long."""

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
        self._models = dependencies.models
        self._address = dependencies.indexer
        self._token = dependencies.token
        self._profile = dependencies.profile
        self._tls = dependencies.tls
        self._channel = dial(dependencies.indexer, token=dependencies.token, tls=dependencies.tls)
        self._stub = indexer_rpc.IndexerStub(self._channel)
        self._light = Lane(width=4, waiting=WAITING, name="light")
        self._heavy = Lane(
            width=4, waiting=WAITING, name="heavy"
        )  # articles of language models, which take turns at each
        self._build = build_id()  # of the code that runs, whatever happens to its files

    def close(self) -> None:
        """Closes the channel to the indexer."""
        self._channel.close()

    def Illustrate(self, request: pb.IllustrateRequest, context: grpc.ServicerContext) -> Iterator[pb.ComposeEvent]:
        """Illustrates existing text; streams every step."""
        text, format_ = asked.text_of(request)
        conditions = asked.conditions_of(request.options, text=text, format_=format_)
        source = pipeline.Source(text, format_, seed=request.options.seed)
        wish = asked.wish_of(request.options)
        caller = _Caller(context)
        setting = self._setting(request.options, conditions, caller)
        with self._lane(setting).enter(caller.remaining_s):
            yield from map(wire.event_to_proto, _heard(pipeline.illustrate(source, wish, setting), caller))

    def Compose(self, request: pb.ComposeRequest, context: grpc.ServicerContext) -> Iterator[pb.ComposeEvent]:
        """Writes an article and illustrates it; streams every step."""
        instruction = asked.words(request.instruction, "instruction")
        conditions = asked.conditions_of(request.options, text=instruction)
        wish = asked.wish_of(request.options)
        caller = _Caller(context)
        setting = self._setting(request.options, conditions, caller)
        with self._heavy.enter(caller.remaining_s):
            served = self._models.writer(
                request.options.model, setting.profile, conditions.language, caller.remaining_s
            )
            writer = served.model
            if request.reference_images and not writer.capabilities.sees:
                raise Unsupported(f"reference_images: {writer.name} does not see pictures: leave them out")
            brief = Brief(
                instruction,
                outline=request.outline,
                keywords=tuple(request.keywords),
                references=asked.pictures_of(request.reference_images, "reference_images"),
                language=conditions.language,
            )
            started, pieces = time.monotonic(), []
            consultation = Consultation(served, caller, seed=request.options.seed)
            for piece in write(consultation, brief, in_lines=served.writes_lines):
                pieces.append(piece)
                yield wire.event_to_proto(TextDelta(piece))
            source = pipeline.Source(
                "".join(pieces),
                seed=request.options.seed,
                writer=writer.name,
                is_draft=writer.name.startswith(DRAFT),
                seconds={"write": round(time.monotonic() - started, 3)},
            )
            yield from map(wire.event_to_proto, _heard(pipeline.illustrate(source, wish, setting), caller))

    def Select(self, request: pb.SelectRequest, context: grpc.ServicerContext) -> pb.SelectResponse:
        """Makes the context-aware choice alone."""
        question = asked.question_of(request)
        conditions = asked.conditions_of(request.options, text=question.context)
        caller = _Caller(context)
        if question.procedure == "similarity":
            with self._light.enter(caller.remaining_s):
                repository = Repository(self._stub, self._address, conditions, caller)
                repository.profile()
                made, model = nearest(question, repository), repository.space
        else:
            setting = self._setting(request.options, conditions, caller)
            with self._lane(setting).enter(caller.remaining_s):
                made, model = setting.illustrator.select(question, setting.repository), setting.illustrator.name
        return pb.SelectResponse(
            choice=made.choice, probabilities=made.probabilities, mass=made.mass, model=model, needed=made.needed
        )

    def Edit(self, request: pb.EditRequest, context: grpc.ServicerContext) -> pb.EditResponse:
        """Changes an article."""
        article = wire.from_proto(request.article)
        if not article.segments:
            raise InvalidRequest("article: has no segments")
        operation = request.operation
        match operation.WhichOneof("operation"):
            case "pick":
                changed = edit.pick(article, operation.pick.spot, operation.pick.candidate)
            case "search":
                changed = self._searched(article, operation.search, request.options, _Caller(context))
            case "remove":
                changed = edit.remove(article, operation.remove)
            case "lock":
                changed = edit.lock(article, operation.lock)
            case "segment":
                changed = self._reworded(article, operation.segment, request.options, _Caller(context))
            case "undo":
                changed = edit.undo(article)
            case _:
                raise InvalidRequest("operation: is empty: say what to change")
        return pb.EditResponse(article=wire.to_proto(changed))

    def Chat(self, request: pb.ChatRequest, context: grpc.ServicerContext) -> Iterator[pb.ChatEvent]:
        """Answers a question, where the model can."""
        if not request.turns or request.turns[-1].assistant:
            raise InvalidRequest("turns: the last one must be the user's")
        asked.words(request.turns[-1].text, "turns")
        caller = _Caller(context)
        with self._heavy.enter(caller.remaining_s):
            profile = request.options.profile or self._profile
            served = self._models.talker(request.options.model, profile, caller.remaining_s)
            turns = [
                Turn("assistant" if turn.assistant else "user", turn.text, asked.pictures_of(turn.images, "turns"))
                for turn in request.turns
            ]
            for piece in answer(Consultation(served, caller, seed=request.options.seed), turns):
                yield pb.ChatEvent(text=piece)

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
            memory_bytes=_resident_bytes(),
        )

    def _setting(self, options: pb.Options, conditions: Conditions, caller: _Caller) -> pipeline.Setting:
        repository = Repository(self._stub, self._address, conditions, caller)
        profile = repository.profile()
        served = self._models.illustrator(options.model, profile, caller.remaining_s)
        illustrator = Vision(Consultation(served, caller, seed=options.seed)) if served else Retrieval()
        return pipeline.Setting(repository, profile, illustrator)

    def _lane(self, setting: pipeline.Setting) -> Lane:
        return self._light if setting.illustrator.name == RETRIEVAL else self._heavy

    def _searched(self, article: Article, search: pb.SearchSpot, options: pb.Options, caller: _Caller) -> Article:
        query = asked.words(search.query, "query")
        if not options.repository:
            options.repository = article.repository
        conditions = asked.conditions_of(options, text=query)
        shown = tuple(picture.image_id for number, picture in article.illustrated if number != search.spot)
        conditions = replace(conditions, exclude_ids=(*conditions.exclude_ids, *shown))
        k = asked.wish_of(options).k
        with self._light.enter(caller.remaining_s):  # the user says what to look for: no model is asked
            repository = Repository(self._stub, self._address, conditions, caller)
            repository.profile()
            found = Retrieval().find(query, article.language, repository, k=k)
        return edit.found(article, search.spot, query, found, chosen_by=RETRIEVAL)

    def _reworded(self, article: Article, change: pb.EditSegment, options: pb.Options, caller: _Caller) -> Article:
        if change.kind not in _CHANGES:
            raise InvalidRequest("operation.segment.kind: is unspecified: say what to do with the segment")
        kind = _CHANGES[change.kind]
        words = change.text
        if not words.strip():
            with self._heavy.enter(caller.remaining_s):
                served = self._models.editor(options.model, options.profile or article.profile, caller.remaining_s)
                consultation = Consultation(served, caller, seed=options.seed)
                words = reworded(consultation, article, change.segment, kind)
        return _PUT.get(kind, edit.rewrite)(article, change.segment, asked.words(words, "text"))

    def _indexer_status(self) -> str:
        try:
            with IndexerClient(self._address, token=self._token, tls=self._tls) as client:
                return "SERVING" if client.healthy(timeout_s=2.0) else "NOT_SERVING"
        except XcompError:
            return "UNREACHABLE"


def _heard(events: Iterator[Event], caller: _Caller) -> Iterator[Event]:
    """Passes events on while somebody listens."""
    for event in events:
        if caller.is_gone():
            return
        yield event


def _can(profile: str) -> tuple[str, ...]:
    """What the profile's models can do without another one being named."""
    return CAN if ILLUSTRATORS.get(profile, RETRIEVAL) == RETRIEVAL else (*CAN, "compose", "chat")


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * 4096
