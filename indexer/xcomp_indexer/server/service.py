"""The gRPC service: converts messages, calls search, catalog and files. Queries and contents are never logged.

Its parts handle the calls that bring images in (`ingest_service.py`) and the calls of operators (`admin_service.py`).
Paths that a request names are checked by `file_access.py`.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np

from xcomp_indexer.embed.base import Embedder, Vectors
from xcomp_indexer.images import rendition
from xcomp_indexer.ingest.upload_dir import UploadDir
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.file_access import FileAccess
from xcomp_indexer.repository.image_record import IMAGES, ImagePayload, is_failure, true_path
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.repository.visibility import is_offered, now, offered_filter
from xcomp_indexer.search.engine import SearchEngine
from xcomp_indexer.search.filter_parser import parse
from xcomp_indexer.search.query import decode_query
from xcomp_indexer.server import messages, search_messages
from xcomp_indexer.server.admin_service import AdminHandlers
from xcomp_indexer.server.ingest_service import IngestHandlers
from xcomp_indexer.store import And, ScoredPoint
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.build import VERSION, build_id
from xcomp_protos.client.channel import CHUNK_BYTES, MAX_MESSAGE_BYTES
from xcomp_protos.errors import Denied, InvalidRequest, NotFound, TooLarge, XcompError, one_line
from xcomp_protos.machine import resident_bytes
from xcomp_protos.server.interceptor import remaining_s

MAX_INPUTS = 1024
MAX_PAGE_BYTES = 3 * 1024 * 1024  # a page of List ends early rather than pass the message limit


class IndexerService(rpc.IndexerServicer):
    """Implements `xcomp.v1.Indexer` over a catalog of repositories."""

    def __init__(self, catalog: RepositoryCatalog, *, roots: Sequence[Path], upload_dir: UploadDir) -> None:
        self._catalog = catalog
        self._search = SearchEngine(catalog)
        self._upload_dir = upload_dir
        self._files = FileAccess(roots, upload_dir.folder)
        self._ingest = IngestHandlers(catalog, self._search, files=self._files, upload_dir=upload_dir)
        self._admin = AdminHandlers(catalog, self._search, files=self._files)
        self._build = build_id()  # of the running code, even if its files are replaced

    def Ingest(self, request: pb.IngestRequest, context: grpc.ServicerContext) -> Iterator[pb.IngestEvent]:
        """Bring a repository up to date."""
        return self._ingest.ingest(request, context)

    def Upload(self, request_iterator: Iterator[pb.UploadRequest], context: grpc.ServicerContext) -> pb.UploadResponse:
        """Add one file."""
        return self._ingest.upload(request_iterator)

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> pb.SearchResponse:
        """Answer a batch of queries."""
        started = time.monotonic()
        search = search_messages.parse_search(request)
        remaining_s(context, default=60)
        repository = self._catalog.get(request.repository, profile=request.profile)
        if not request.allow_restricted:
            _check_query_images(repository, request)
        results = self._search.answer(repository, search, is_cancelled=lambda: not context.is_active())
        pairs = self._search.compare(repository, search, results) if search.min_similarity else ()
        response = search_messages.response_message(
            results, repository.name, pairs=pairs, has_vectors=request.query_vectors
        )
        response.seconds = time.monotonic() - started
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            raise TooLarge("k: the hits do not fit into one answer of 4 MiB: ask for fewer, or send fewer queries")
        return response

    def Embed(self, request: pb.EmbedRequest, context: grpc.ServicerContext) -> pb.EmbedResponse:
        """Embed texts or images in one space."""
        if not 1 <= len(request.inputs) <= MAX_INPUTS:
            raise InvalidRequest(f"send 1 to {MAX_INPUTS} of them, not {len(request.inputs)}", field="inputs")
        repository = self._catalog.get(request.repository)
        names = [each.name for each in repository.held]
        space = request.space or self._search.spaces_for(repository, [each.text for each in request.inputs])[0]
        if space not in names:
            raise NotFound(f"there is no space {space!r} in repository {repository.name!r}: it has {', '.join(names)}")
        embedder = self._catalog.embedder(repository, space)
        rows = self._embed(request, embedder, context)
        vectors = [pb.Vector(values=row) for row in rows.tolist()]
        return pb.EmbedResponse(space=space, model=embedder.name, digest=embedder.digest, vectors=vectors)

    def _embed(self, request: pb.EmbedRequest, embedder: Embedder, context: grpc.ServicerContext) -> Vectors:
        kinds = {each.WhichOneof("content") for each in request.inputs}
        if kinds == {"text"}:
            texts = [messages.check_text(each.text, field="inputs") for each in request.inputs]
            return self._search.texts.encode(embedder, texts, is_cancelled=lambda: not context.is_active())
        if kinds != {"image"}:
            raise InvalidRequest("send texts or images, not both at once and none empty", field="inputs")
        size = embedder.image_size
        images = [decode_query(each.image, image_size=size, field="inputs") for each in request.inputs]
        return np.asarray(embedder.encode_images(images).vectors)

    def Fetch(self, request: pb.FetchRequest, context: grpc.ServicerContext) -> Iterator[pb.FetchResponse]:
        """Return an image: a copy for publication, or the file's own bytes."""
        point = _get_image(self._catalog.get(request.repository), request.image_id)
        if not request.allow_restricted:
            _check_visible(point)
        payload = ImagePayload.read(point.payload)
        file = self._files.content_of(payload)
        copy = (
            rendition.wrap_original(file)
            if request.originals
            else rendition.render(file, payload.metadata, max_px=request.max_px or rendition.MAX_PX)
        )
        yield pb.FetchResponse(
            header=pb.FetchHeader(
                media_type=copy.media_type,
                suffix=copy.suffix,
                width=copy.width,
                height=copy.height,
                size_bytes=len(copy.content),
            )
        )
        for start in range(0, len(copy.content), CHUNK_BYTES):
            yield pb.FetchResponse(chunk=copy.content[start : start + CHUNK_BYTES])

    def List(self, request: pb.ListRequest, context: grpc.ServicerContext) -> pb.ListResponse:
        """Return a page of the images of a repository, in the order of their ids."""
        repository = self._catalog.get(request.repository)
        size = request.page_size or 100
        if not 1 <= size <= messages.MAX_K:
            raise InvalidRequest(f"page_size: must be 1 to {messages.MAX_K}, not {size}")
        parts = [IMAGES, *(part for part in (parse(list(request.where)),) if part)]
        if not request.allow_restricted:
            parts.append(offered_filter(now()))
        response = pb.ListResponse()
        size_bytes = 0
        for point in repository.store.scan(where=And(tuple(parts)), after=messages.parse_page_token(request)):
            image = messages.image_message(point, repository.name)
            size_bytes += image.ByteSize()
            if len(response.images) == size or (response.images and size_bytes > MAX_PAGE_BYTES):
                response.next_page_token = response.images[-1].id
                break
            response.images.append(image)
        return response

    def GetImages(self, request: pb.GetImagesRequest, context: grpc.ServicerContext) -> pb.GetImagesResponse:
        """Return the images that have these ids, as far as the request may see them."""
        if not 1 <= len(request.ids) <= messages.MAX_K:
            raise InvalidRequest(f"ids: send 1 to {messages.MAX_K} of them, not {len(request.ids)}")
        repository, moment = self._catalog.get(request.repository), now()
        response = pb.GetImagesResponse()
        for point in repository.store.get(list(dict.fromkeys(request.ids))):
            if not is_failure(point) and (request.allow_restricted or is_offered(point.payload, moment)):
                messages.write_image(response.images.add(), point, repository.name)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            raise TooLarge("ids: the images do not fit into one answer of 4 MiB: ask for fewer")
        return response

    def Delete(self, request: pb.DeleteRequest, context: grpc.ServicerContext) -> pb.DeleteResponse:
        """Remove images from a repository."""
        repository = self._catalog.get(request.repository)
        points = repository.store.get(list(dict.fromkeys(request.ids)))
        images = [point for point in points if not is_failure(point)]
        repository.store.delete([point.id for point in images])
        repository.store.flush()
        for point in images:
            self._upload_dir.remove(true_path(point.payload), repository.name)
        self._search.forget(repository)
        return pb.DeleteResponse(deleted=len(images))

    def CreateRepository(
        self, request: pb.CreateRepositoryRequest, context: grpc.ServicerContext
    ) -> pb.CreateRepositoryResponse:
        """Create an empty repository."""
        repository = self._catalog.create(request.name, profile=request.profile)
        return pb.CreateRepositoryResponse(repository=messages.repository_message(repository))

    def ListRepositories(
        self, request: pb.ListRepositoriesRequest, context: grpc.ServicerContext
    ) -> pb.ListRepositoriesResponse:
        """Describe every repository."""
        return pb.ListRepositoriesResponse(repositories=self._describe_all())

    def DeleteRepository(
        self, request: pb.DeleteRepositoryRequest, context: grpc.ServicerContext
    ) -> pb.DeleteRepositoryResponse:
        """Remove a repository with all its vectors."""
        deleted = self._catalog.drop(request.name)
        self._upload_dir.remove_all(request.name)
        return pb.DeleteRepositoryResponse(deleted=deleted)

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeResponse:
        """Describe the server and its repositories, or one of them."""
        name = request.repository
        return pb.DescribeResponse(
            version=VERSION,
            build=self._build,
            store=self._catalog.stores.place,
            models_loaded=self._catalog.models.names(),
            engines=self._catalog.models.engines(),
            memory_bytes=resident_bytes(),
            repositories=[messages.repository_message(self._catalog.get(name))] if name else self._describe_all(),
            default_profile=self._catalog.default_profile,
            unix_time_ms=time.time_ns() // 1_000_000,
        )

    def AddSpace(self, request: pb.AddSpaceRequest, context: grpc.ServicerContext) -> Iterator[pb.AddSpaceEvent]:
        """Add a space, or continue with one, and embed every image that lacks its vector."""
        return self._admin.add_space(request, context)

    def SwitchSpaces(self, request: pb.SwitchSpacesRequest, context: grpc.ServicerContext) -> pb.SwitchSpacesResponse:
        """Choose the spaces that answer from now on."""
        return self._admin.switch_spaces(request)

    def DropSpace(self, request: pb.DropSpaceRequest, context: grpc.ServicerContext) -> pb.DropSpaceResponse:
        """Remove a space that does not answer."""
        return self._admin.drop_space(request)

    def Export(self, request: pb.ExportRequest, context: grpc.ServicerContext) -> Iterator[pb.ExportResponse]:
        """Return a repository as a stream of bytes."""
        return self._admin.export(request)

    def Import(self, request_iterator: Iterator[pb.ImportRequest], context: grpc.ServicerContext) -> pb.ImportResponse:
        """Create a repository from what `Export` returned."""
        return self._admin.import_repository(request_iterator)

    def Optimize(self, request: pb.OptimizeRequest, context: grpc.ServicerContext) -> Iterator[pb.OptimizeEvent]:
        """Rebuild the layout of a repository in the store while it serves."""
        return self._admin.optimize(request, context)

    def Snapshot(self, request: pb.SnapshotRequest, context: grpc.ServicerContext) -> pb.SnapshotResponse:
        """Take a snapshot where the store keeps them."""
        return self._admin.snapshot(request)

    def ListSnapshots(
        self, request: pb.ListSnapshotsRequest, context: grpc.ServicerContext
    ) -> pb.ListSnapshotsResponse:
        """List the snapshots of a repository."""
        return self._admin.list_snapshots(request)

    def Duplicates(self, request: pb.DuplicatesRequest, context: grpc.ServicerContext) -> Iterator[pb.DuplicatesEvent]:
        """Find images that are copies or near-duplicates of each other."""
        return self._admin.find_duplicates(request, context)

    def _describe_all(self) -> list[pb.Repository]:
        """Describe every repository; one that cannot be opened has its problem in place of its contents."""
        described = []
        for name in self._catalog.names():
            try:
                described.append(messages.repository_message(self._catalog.get(name)))
            except XcompError as error:
                described.append(pb.Repository(name=name, problem=one_line(str(error))))
        return described


def _get_image(repository: Repository, image_id: str) -> ScoredPoint:
    points = repository.store.get([image_id])
    if not points or is_failure(points[0]):
        raise NotFound(f"image_id: there is no image {image_id!r} in repository {repository.name!r}")
    return points[0]


def _check_visible(image: ScoredPoint) -> None:
    """Raise `Denied` for an image that no search would return either."""
    if not is_offered(image.payload, now()):
        raise Denied(f"image_id: {image.id!r} is internal, expired or under embargo: ask for it with allow_restricted")


def _check_query_images(repository: Repository, request: pb.SearchRequest) -> None:
    """Raise `Denied` if a query looks for what resembles an image that the caller may not see."""
    ids = {part.image_id for query in request.queries for part in query.parts if part.image_id}
    for point in repository.store.get(sorted(ids)) if ids else ():
        _check_visible(point)
