"""The typed clients: one class per service, requests and responses as generated messages, errors as `XcompError`.

Every call has a deadline. A stream has none, since an ingest may take hours: it ends when the server ends it or when
the caller closes the iterator. `retry.py` says when a call is repeated.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import chain
from types import TracebackType
from typing import ClassVar, Self, TypeVar

from grpc_health.v1 import health_pb2, health_pb2_grpc

from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import composer_pb2_grpc as crpc
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client.channel import dial, translate_errors
from xcomp_protos.client.retry import Retry
from xcomp_protos.tls import ClientTls

Response = TypeVar("Response")

TIMEOUT_S = 60.0
_DEFAULT_RETRY = Retry()


class _Client:
    """A channel to one service."""

    service: ClassVar[str]
    repeatable: ClassVar[tuple[str, ...]]  # methods with one answer that may be called twice: they read or compute

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: ClientTls | None = None,
        timeout_s: float = TIMEOUT_S,
        retry: Retry = _DEFAULT_RETRY,
    ) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._retry = retry
        options = retry.channel_options(self._full_name, self.repeatable)
        self._channel = dial(address, token=token, tls=tls, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def healthy(self, *, timeout_s: float = 5.0) -> bool:
        """Returns whether the service takes calls now.

        Raises:
            Unavailable: the service does not answer.
        """
        stub = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service=self._full_name)
        with translate_errors(self.service, self.address):
            response = stub.Check(request, timeout=timeout_s)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    @property
    def _full_name(self) -> str:
        return f"xcomp.v1.{self.service.capitalize()}"

    def _call(self, method: Callable[..., Response], request: object) -> Response:
        with translate_errors(self.service, self.address):
            return method(request, timeout=self._timeout_s)

    def _call_without_deadline(self, method: Callable[..., Response], request: object) -> Response:
        with translate_errors(self.service, self.address):
            return method(request)

    def _stream(self, method: Callable[..., Iterable[Response]], request: object) -> Iterator[Response]:
        stream = method(request)
        try:
            with translate_errors(self.service, self.address):
                yield from stream
        finally:
            cancel = getattr(stream, "cancel", None)
            if cancel:
                cancel()  # tells the server that the caller has left; changes nothing after the end of the stream

    def _repeatable_stream(self, method: Callable[..., Iterable[Response]], request: object) -> Iterator[Response]:
        return self._retry.open_stream(lambda: self._stream(method, request), timeout_s=self._timeout_s)


class IndexerClient(_Client):
    """The image repository."""

    service = "indexer"
    repeatable = ("Search", "Embed", "List", "GetImages", "ListRepositories", "Describe")

    @cached_property
    def _stub(self) -> rpc.IndexerStub:
        return rpc.IndexerStub(self._channel)

    def ingest(self, request: pb.IngestRequest) -> Iterator[pb.IngestEvent]:
        """Brings a repository up to date; the last event is the summary."""
        return self._repeatable_stream(self._stub.Ingest, request)

    def upload(self, header: pb.UploadHeader, chunks: Iterable[bytes] = ()) -> pb.UploadResponse:
        """Adds one file; without chunks it asks whether they are needed."""
        parts = (pb.UploadRequest(chunk=chunk) for chunk in chunks)
        return self._call(self._stub.Upload, chain([pb.UploadRequest(header=header)], parts))

    def search(self, request: pb.SearchRequest) -> pb.SearchResponse:
        """Answers a batch of queries."""
        return self._call(self._stub.Search, request)

    def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        """Embeds texts and images in one space."""
        return self._call(self._stub.Embed, request)

    def fetch(self, request: pb.FetchRequest) -> tuple[pb.FetchHeader, bytes]:
        """Returns the bytes of an image, joined from their chunks."""
        header, chunks = pb.FetchHeader(), []
        for part in self._repeatable_stream(self._stub.Fetch, request):
            if part.WhichOneof("part") == "header":
                header = part.header
            else:
                chunks.append(part.chunk)
        return header, b"".join(chunks)

    def list_images(self, request: pb.ListRequest) -> pb.ListResponse:
        """Returns one page of the images of a repository."""
        return self._call(self._stub.List, request)

    def get_images(self, request: pb.GetImagesRequest) -> pb.GetImagesResponse:
        """Returns the images that have these ids."""
        return self._call(self._stub.GetImages, request)

    def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Removes images from a repository; it never touches their files."""
        return self._call(self._stub.Delete, request)

    def create_repository(self, request: pb.CreateRepositoryRequest) -> pb.Repository:
        """Creates an empty repository."""
        return self._call(self._stub.CreateRepository, request).repository

    def list_repositories(self) -> list[pb.Repository]:
        """Returns every repository."""
        return list(self._call(self._stub.ListRepositories, pb.ListRepositoriesRequest()).repositories)

    def delete_repository(self, name: str) -> int:
        """Removes a repository; returns the number of its images."""
        return self._call(self._stub.DeleteRepository, pb.DeleteRepositoryRequest(name=name)).deleted

    def add_space(self, request: pb.AddSpaceRequest) -> Iterator[pb.AddSpaceEvent]:
        """Adds a space, or continues to add one, and fills it; the last event is the summary."""
        return self._stream(self._stub.AddSpace, request)

    def switch_spaces(self, request: pb.SwitchSpacesRequest) -> pb.SwitchSpacesResponse:
        """Sets which spaces answer from now on."""
        return self._call(self._stub.SwitchSpaces, request)

    def drop_space(self, request: pb.DropSpaceRequest) -> pb.DropSpaceResponse:
        """Removes a space that does not answer, with its vectors."""
        return self._call(self._stub.DropSpace, request)

    def export(self, name: str) -> Iterator[bytes]:
        """Yields a repository as bytes, chunk by chunk."""
        return (part.chunk for part in self._repeatable_stream(self._stub.Export, pb.ExportRequest(name=name)))

    def import_(self, name: str, pieces: Iterable[bytes]) -> pb.Repository:
        """Creates a repository from what `export` yielded; has no deadline."""
        header = pb.ImportRequest(header=pb.ImportHeader(name=name))
        parts = chain([header], (pb.ImportRequest(chunk=piece) for piece in pieces))
        return self._call_without_deadline(self._stub.Import, parts).repository

    def optimize(self, repository: str) -> Iterator[pb.OptimizeEvent]:
        """Rebuilds the stored form of a repository while it serves."""
        return self._stream(self._stub.Optimize, pb.OptimizeRequest(repository=repository))

    def snapshot(self, repository: str) -> pb.StoredSnapshot:
        """Takes a snapshot where the store keeps snapshots; has no deadline."""
        return self._call_without_deadline(self._stub.Snapshot, pb.SnapshotRequest(repository=repository)).snapshot

    def list_snapshots(self, repository: str) -> list[pb.StoredSnapshot]:
        """Returns the snapshots of a repository."""
        return list(self._call(self._stub.ListSnapshots, pb.ListSnapshotsRequest(repository=repository)).snapshots)

    def duplicates(self, request: pb.DuplicatesRequest) -> Iterator[pb.DuplicatesEvent]:
        """Finds groups of files that show the same image; the last event is the summary."""
        return self._stream(self._stub.Duplicates, request)

    def describe(self, repository: str = "") -> pb.DescribeResponse:
        """Returns what the server is and which repositories it has."""
        return self._call(self._stub.Describe, pb.DescribeRequest(repository=repository))


class ComposerClient(_Client):
    """The composer."""

    service = "composer"
    repeatable = ("Select", "Edit", "Describe")

    @cached_property
    def _stub(self) -> crpc.ComposerStub:
        return crpc.ComposerStub(self._channel)

    def compose(self, request: cpb.ComposeRequest) -> Iterator[cpb.ComposeEvent]:
        """Writes and illustrates an article; the last event is the article."""
        return self._repeatable_stream(self._stub.Compose, request)

    def illustrate(self, request: cpb.IllustrateRequest) -> Iterator[cpb.ComposeEvent]:
        """Illustrates existing text; the last event is the article."""
        return self._repeatable_stream(self._stub.Illustrate, request)

    def select(self, request: cpb.SelectRequest) -> cpb.SelectResponse:
        """Makes the context-aware choice alone."""
        return self._call(self._stub.Select, request)

    def edit(self, request: cpb.EditRequest) -> cpb.Article:
        """Changes an article."""
        return self._call(self._stub.Edit, request).article

    def chat(self, request: cpb.ChatRequest) -> Iterator[cpb.ChatEvent]:
        """Answers a question, piece by piece."""
        return self._repeatable_stream(self._stub.Chat, request)

    def describe(self) -> cpb.DescribeComposerResponse:
        """Returns what the server is and what its model can do."""
        return self._call(self._stub.Describe, cpb.DescribeComposerRequest())
