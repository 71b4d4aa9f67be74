"""The gRPC service: messages in, calls of the library, messages out. Queries and contents are never logged.

Paths that a request names are allowed, as `file_access.py` has it, or the request is refused.
"""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import grpc

from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.images import rendition
from xcomp_indexer.ingest import failure_log
from xcomp_indexer.ingest.compaction import with_compaction
from xcomp_indexer.ingest.discover import preview
from xcomp_indexer.ingest.events import Event, Failure, Summary
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.ingest.upload import Uploads
from xcomp_indexer.ingest.upload_dir import UploadDir
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.image_record import (
    IMAGES,
    ImagePayload,
    is_failure,
    true_path,
)
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.repository.visibility import is_offered, now, offered
from xcomp_indexer.search.filter_parser import parse
from xcomp_indexer.search.query import decode_query
from xcomp_indexer.server import messages, search_messages
from xcomp_indexer.server.admin_service import Upkeep
from xcomp_indexer.store import And, ScoredPoint
from xcomp_protos import common_pb2
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.build import VERSION, build_id
from xcomp_protos.client.channel import CHUNK_BYTES, MAX_MESSAGE_BYTES
from xcomp_protos.errors import (
    Cancelled,
    Denied,
    ImageError,
    InvalidRequest,
    NotFound,
    TooLarge,
    XcompError,
    one_line,
)
from xcomp_protos.server.interceptor import remaining_s
from xcomp_protos.telemetry import api

MAX_INPUTS = 1024
MAX_PAGE_BYTES = 3 * 1024 * 1024  # a page of List ends earlier than asked for rather than pass the message limit
WAIT_S = 0.2

EventStream = Generator[Event, None, None]


class IndexerService(Upkeep):
    """Implements `xcomp.v1.Indexer` over a library."""

    def __init__(self, library: RepositoryCatalog, *, roots: Sequence[Path], inbox: UploadDir) -> None:
        super().__init__(library, roots=roots, inbox=inbox)
        self._uploads = Uploads(library, inbox)
        self._build = build_id()  # of the code that runs, whatever happens to its files

    def Ingest(self, request: pb.IngestRequest, context: grpc.ServicerContext) -> Iterator[pb.IngestEvent]:
        """Brings a repository up to date; waits while another ingest of it is under way."""
        order = messages.order_of(request, within=self._allowed.roots)
        for path in order.paths:
            self._allowed.check_indexable(path)
        if order.dry_run and not order.retry_failed and not self._library.exists(request.repository):
            yield from _sent(preview(order), request.repository, context)
            return
        opened = self._library.get if order.retry_failed else self._library.get_or_create
        repository = opened(request.repository, profile=request.profile)
        with self._turn(repository, context):
            events = Ingest(repository, partial(self._library.embedder, repository), order).run()
            kept = events if order.dry_run else with_compaction(repository, self._kept(repository, events))
            yield from _sent(kept, repository.name, context)

    @contextmanager
    def _turn(self, repository: Repository, context: grpc.ServicerContext) -> Iterator[None]:
        """Waits until nobody else ingests into the repository, and keeps it so."""
        with api.count_waiting("ingest"):
            while not repository.ingesting.acquire(timeout=WAIT_S):
                if not context.is_active():
                    raise Cancelled("the caller went away")
        try:
            if not self._library.holds(repository):
                raise NotFound(f"repository {repository.name!r} was deleted while this ingest waited: run it again")
            yield
        finally:
            repository.ingesting.release()

    def _kept(self, repository: Repository, events: EventStream) -> EventStream:
        """Passes events on; what came of it is kept with the repository."""
        failures: list[Failure] = []
        with closing(events):
            for event in events:
                self._search.recount(repository)
                if isinstance(event, Failure):
                    failures.append(event)
                elif isinstance(event, Summary):
                    if event.added or event.updated or event.removed:
                        self._search.forget(repository)
                    failure_log.save_summary(repository.store, event, failures)
                yield event

    def Upload(self, request_iterator: Iterator[pb.UploadRequest], context: grpc.ServicerContext) -> pb.UploadResponse:
        """Adds one file whose bytes the caller holds."""
        offer = messages.offer_of(next(request_iterator, pb.UploadRequest()))
        try:
            taken = self._uploads.receive(offer, map(messages.chunk_of, request_iterator))
        except ImageError as error:
            failure = pb.IngestFailure(path=offer.name, reason=error.reason, message=one_line(str(error)))
            return pb.UploadResponse(failure=failure)
        if taken:
            self._search.recount(self._library.get(offer.repository))
        return messages.taken_message(taken)

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> pb.SearchResponse:
        """Answers a batch of queries."""
        started = time.monotonic()
        question = search_messages.question_of(request)
        remaining_s(context, default=60)
        repository = self._library.get(request.repository, profile=request.profile)
        answers = self._search.answer(repository, question, gone=lambda: not context.is_active())
        pairs = self._search.compare(repository, question, answers) if question.min_similarity else ()
        response = search_messages.response_message(
            answers, repository.name, pairs=pairs, has_vectors=request.query_vectors
        )
        response.seconds = time.monotonic() - started
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            raise TooLarge("k: the hits do not fit into one answer of 4 MiB: ask for fewer, or send fewer queries")
        return response

    def Embed(self, request: pb.EmbedRequest, context: grpc.ServicerContext) -> pb.EmbedResponse:
        """Embeds texts and images in one space."""
        if not 1 <= len(request.inputs) <= MAX_INPUTS:
            raise InvalidRequest(f"send 1 to {MAX_INPUTS} of them, not {len(request.inputs)}", field="inputs")
        repository = self._library.get(request.repository)
        names = [each.name for each in repository.held]
        space = request.space or self._search.spaces_for(repository, [each.text for each in request.inputs])[0]
        if space not in names:
            raise NotFound(f"there is no space {space!r} in repository {repository.name!r}: it has {', '.join(names)}")
        embedder = self._library.embedder(repository, space)
        rows: list[Vectors] = []
        kinds = {each.WhichOneof("content") for each in request.inputs}
        if kinds == {"text"}:
            texts = [messages.text_of(each.text, field="inputs") for each in request.inputs]
            rows.append(self._search.texts.encode(embedder, texts, gone=lambda: not context.is_active()))
        elif kinds == {"image"}:
            pictures = [
                decode_query(each.image, image_size=embedder.image_size, field="inputs") for each in request.inputs
            ]
            rows.append(embedder.encode_images(pictures).vectors)
        else:
            raise InvalidRequest("send texts or images, not both at once and none empty", field="inputs")
        vectors = [pb.Vector(values=row) for row in rows[0].tolist()]
        return pb.EmbedResponse(space=space, model=embedder.name, digest=embedder.digest, vectors=vectors)

    def Fetch(self, request: pb.FetchRequest, context: grpc.ServicerContext) -> Iterator[pb.FetchResponse]:
        """Hands out an image: publish-safe, or the file's own bytes."""
        repository = self._library.get(request.repository)
        found = self._one(repository, request.image_id)
        if not request.allow_restricted:
            _check_offered(found)
        content = ImagePayload.read(found.payload)
        file = self._allowed.content_of(content)
        picture = (
            rendition.wrap_original(file)
            if request.originals
            else rendition.render(file, content.metadata, max_px=request.max_px or rendition.MAX_PX)
        )
        yield pb.FetchResponse(
            header=pb.FetchHeader(
                media_type=picture.media_type,
                suffix=picture.suffix,
                width=picture.width,
                height=picture.height,
                size_bytes=len(picture.content),
            )
        )
        for start in range(0, len(picture.content), CHUNK_BYTES):
            yield pb.FetchResponse(chunk=picture.content[start : start + CHUNK_BYTES])

    def List(self, request: pb.ListRequest, context: grpc.ServicerContext) -> pb.ListResponse:
        """Pages through the images of a repository, in the order of their ids."""
        repository = self._library.get(request.repository)
        size = request.page_size or 100
        if not 1 <= size <= messages.MAX_K:
            raise InvalidRequest(f"page_size: must be 1 to {messages.MAX_K}, not {size}")
        parts = [IMAGES, *(part for part in (parse(list(request.where)),) if part)]
        if not request.allow_restricted:
            parts.append(offered(now()))
        images: list[common_pb2.Image] = []
        size_bytes = 0
        for point in repository.store.scan(where=And(tuple(parts)), after=messages.page_token_of(request)):
            image = messages.image_message(point, repository.name)
            size_bytes += image.ByteSize()
            if len(images) == size or (images and size_bytes > MAX_PAGE_BYTES):
                return pb.ListResponse(images=images, next_page_token=images[-1].id)
            images.append(image)
        return pb.ListResponse(images=images)

    def GetImages(self, request: pb.GetImagesRequest, context: grpc.ServicerContext) -> pb.GetImagesResponse:
        """Returns the images that have these ids, as far as the request may see them."""
        if not 1 <= len(request.ids) <= messages.MAX_K:
            raise InvalidRequest(f"ids: send 1 to {messages.MAX_K} of them, not {len(request.ids)}")
        repository, moment = self._library.get(request.repository), now()
        points = repository.store.get(list(dict.fromkeys(request.ids)))
        response = pb.GetImagesResponse()
        for point in points:
            if not is_failure(point) and (request.allow_restricted or is_offered(point.payload, moment)):
                messages.write_image(response.images.add(), point, repository.name)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            raise TooLarge("ids: the images do not fit into one answer of 4 MiB: ask for fewer")
        return response

    def Delete(self, request: pb.DeleteRequest, context: grpc.ServicerContext) -> pb.DeleteResponse:
        """Removes images from a repository."""
        repository = self._library.get(request.repository)
        found = repository.store.get(list(dict.fromkeys(request.ids)))
        images = [point for point in found if not is_failure(point)]
        repository.store.delete([point.id for point in images])
        repository.store.flush()
        for point in images:
            self._inbox.remove(true_path(point.payload), repository.name)
        self._search.forget(repository)
        return pb.DeleteResponse(deleted=len(images))

    def CreateRepository(
        self,
        request: pb.CreateRepositoryRequest,
        context: grpc.ServicerContext,
    ) -> pb.CreateRepositoryResponse:
        """Creates an empty repository."""
        repository = self._library.create(request.name, profile=request.profile)
        return pb.CreateRepositoryResponse(repository=messages.repository_message(repository))

    def ListRepositories(
        self,
        request: pb.ListRepositoriesRequest,
        context: grpc.ServicerContext,
    ) -> pb.ListRepositoriesResponse:
        """Names every repository."""
        return pb.ListRepositoriesResponse(repositories=self._all())

    def DeleteRepository(
        self,
        request: pb.DeleteRepositoryRequest,
        context: grpc.ServicerContext,
    ) -> pb.DeleteRepositoryResponse:
        """Removes a repository with all its vectors."""
        deleted = self._library.drop(request.name)
        self._inbox.remove_all(request.name)
        return pb.DeleteRepositoryResponse(deleted=deleted)

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeResponse:
        """Says what the server is and holds."""
        one = request.repository
        return pb.DescribeResponse(
            version=VERSION,
            build=self._build,
            store=self._library.stores.place,
            models_loaded=self._library.models.names(),
            memory_bytes=_resident_bytes(),
            repositories=[messages.repository_message(self._library.get(one))] if one else self._all(),
            default_profile=self._library.default_profile,
            unix_time_ms=time.time_ns() // 1_000_000,
        )

    def _all(self) -> list[pb.Repository]:
        """Describes every repository; one that cannot be opened says why and is not in the way of the others."""
        described = []
        for name in self._library.names():
            try:
                described.append(messages.repository_message(self._library.get(name)))
            except XcompError as error:
                described.append(pb.Repository(name=name, problem=one_line(str(error))))
        return described

    def _one(self, repository: Repository, image_id: str) -> ScoredPoint:
        found = repository.store.get([image_id])
        if not found or is_failure(found[0]):
            raise NotFound(f"image_id: there is no image {image_id!r} in repository {repository.name!r}")
        return found[0]


def _check_offered(image: ScoredPoint) -> None:
    """Raises `Denied` for an image that no search would show either."""
    if not is_offered(image.payload, now()):
        raise Denied(f"image_id: {image.id!r} is internal, expired or under embargo: ask for it with allow_restricted")


def _sent(events: EventStream, name: str, context: grpc.ServicerContext) -> Iterator[pb.IngestEvent]:
    """Turns events into messages, and ends the work when nobody listens any more."""
    with closing(events):
        for event in events:
            if not context.is_active():
                raise Cancelled("the caller went away")
            message = messages.event_message(event)
            if isinstance(event, Summary):
                message.summary.repository = name
            yield message


def _resident_bytes() -> int:
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:  # not Linux
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
