"""The typed client: one class per service, requests and responses as generated messages, errors as `XcompError`.

Every call has a deadline. A stream has none, since an ingest may take hours: it ends when the server ends it or when
the caller closes the iterator. What may be done twice is tried again while the service is away or full, as
`retry.py` says; a stream only until its first message.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from types import TracebackType
from typing import Self, TypeVar

from grpc_health.v1 import health_pb2, health_pb2_grpc

from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import composer_pb2_grpc as crpc
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client.channel import dial, translated
from xcomp_protos.client.retry import Retry
from xcomp_protos.tls import ClientTls

Response = TypeVar("Response")

TIMEOUT_S = 60.0
PATIENT = Retry()


class _Client:
    """A channel to one service."""

    service = ""

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: ClientTls | None = None,
        timeout_s: float = TIMEOUT_S,
        retry: Retry = PATIENT,
    ) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._retry = retry
        self._channel = dial(address, token=token, tls=tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def healthy(self, *, timeout_s: float = 5.0) -> bool:
        """Whether the service takes calls now.

        Raises:
            Unavailable: nobody answers.
        """
        stub = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service=f"xcomp.v1.{self.service.capitalize()}")
        with translated(self.service, self.address):
            response = stub.Check(request, timeout=timeout_s)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def _call(self, method: Callable[..., Response], request: object, *, again: bool = False) -> Response:
        """Makes a call; one that may be made twice is made `again` where that can help."""

        def attempt(left_s: float) -> Response:
            with translated(self.service, self.address):
                return method(request, timeout=left_s)

        if again:
            return self._retry.run(attempt, timeout_s=self._timeout_s)
        return attempt(self._timeout_s)

    def _stream(
        self, method: Callable[..., Iterable[Response]], request: object, *, again: bool = False
    ) -> Iterator[Response]:
        """Opens a stream, `again` as long as nothing has come of it."""

        def attempt(_: float) -> tuple[Response | None, Iterable[Response]]:
            stream = method(request)
            with translated(self.service, self.address):
                return next(iter(stream), None), stream

        retry = self._retry if again else Retry(attempts=1)
        first, stream = retry.run(attempt, timeout_s=self._timeout_s)
        try:
            if first is not None:
                yield first
                with translated(self.service, self.address):
                    yield from stream
        finally:
            cancel = getattr(stream, "cancel", None)
            if cancel:
                cancel()  # a no-op on a finished stream; tells the server that nobody listens any more


class IndexerClient(_Client):
    """The image repository."""

    service = "indexer"

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: ClientTls | None = None,
        timeout_s: float = TIMEOUT_S,
        retry: Retry = PATIENT,
    ) -> None:
        super().__init__(address, token=token, tls=tls, timeout_s=timeout_s, retry=retry)
        self._stub = rpc.IndexerStub(self._channel)

    def ingest(self, request: pb.IngestRequest) -> Iterator[pb.IngestEvent]:
        """Brings a repository up to date; the last event is the summary."""
        return self._stream(self._stub.Ingest, request, again=True)

    def upload(self, header: pb.UploadHeader, chunks: Iterable[bytes] = ()) -> pb.UploadResponse:
        """Adds one file; without chunks it asks whether they are needed."""
        parts = (pb.UploadRequest(chunk=chunk) for chunk in chunks)
        return self._call(self._stub.Upload, chain([pb.UploadRequest(header=header)], parts))

    def search(self, request: pb.SearchRequest) -> pb.SearchResponse:
        """Answers a batch of queries."""
        return self._call(self._stub.Search, request, again=True)

    def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        """Embeds texts and images in one space."""
        return self._call(self._stub.Embed, request, again=True)

    def fetch(self, request: pb.FetchRequest) -> tuple[pb.FetchHeader, bytes]:
        """Returns an image's bytes, put together from its chunks."""
        header, chunks = pb.FetchHeader(), []
        for part in self._stream(self._stub.Fetch, request, again=True):
            if part.WhichOneof("part") == "header":
                header = part.header
            else:
                chunks.append(part.chunk)
        return header, b"".join(chunks)

    def list_images(self, request: pb.ListRequest) -> pb.ListResponse:
        """Returns one page of a repository's images."""
        return self._call(self._stub.List, request, again=True)

    def get_images(self, request: pb.GetImagesRequest) -> pb.GetImagesResponse:
        """Returns the images that have these ids."""
        return self._call(self._stub.GetImages, request, again=True)

    def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Removes images from a repository; files are never touched."""
        return self._call(self._stub.Delete, request)

    def create_repository(self, request: pb.CreateRepositoryRequest) -> pb.Repository:
        """Creates an empty repository."""
        return self._call(self._stub.CreateRepository, request).repository

    def list_repositories(self) -> list[pb.Repository]:
        """Names every repository."""
        return list(self._call(self._stub.ListRepositories, pb.ListRepositoriesRequest(), again=True).repositories)

    def delete_repository(self, name: str) -> int:
        """Removes a repository; returns how many images it held."""
        return self._call(self._stub.DeleteRepository, pb.DeleteRepositoryRequest(name=name)).deleted

    def add_space(self, request: pb.AddSpaceRequest) -> Iterator[pb.AddSpaceEvent]:
        """Adds a space, or goes on with one, and fills it; the last event is the summary."""
        return self._stream(self._stub.AddSpace, request)

    def switch_spaces(self, request: pb.SwitchSpacesRequest) -> pb.SwitchSpacesResponse:
        """Says which spaces answer from now on."""
        return self._call(self._stub.SwitchSpaces, request)

    def drop_space(self, request: pb.DropSpaceRequest) -> pb.DropSpaceResponse:
        """Removes a space that does not answer, with its vectors."""
        return self._call(self._stub.DropSpace, request)

    def export(self, name: str) -> Iterator[bytes]:
        """Yields a repository as bytes, piece by piece."""
        return (part.chunk for part in self._stream(self._stub.Export, pb.ExportRequest(name=name), again=True))

    def import_(self, name: str, pieces: Iterable[bytes]) -> pb.Repository:
        """Makes a repository of what `export` yielded; takes as long as it takes."""
        parts = (pb.ImportRequest(chunk=piece) for piece in pieces)
        with translated(self.service, self.address):
            header = pb.ImportRequest(header=pb.ImportHeader(name=name))
            return self._stub.Import(chain([header], parts)).repository

    def optimize(self, repository: str) -> Iterator[pb.OptimizeEvent]:
        """Rebuilds how a repository lies in the store, while it serves; takes as long as it takes."""
        return self._stream(self._stub.Optimize, pb.OptimizeRequest(repository=repository))

    def snapshot(self, repository: str) -> pb.StoredSnapshot:
        """Takes a snapshot where the store keeps them; takes as long as it takes."""
        with translated(self.service, self.address):
            return self._stub.Snapshot(pb.SnapshotRequest(repository=repository)).snapshot

    def list_snapshots(self, repository: str) -> list[pb.StoredSnapshot]:
        """Names the snapshots of a repository."""
        return list(self._call(self._stub.ListSnapshots, pb.ListSnapshotsRequest(repository=repository)).snapshots)

    def duplicates(self, request: pb.DuplicatesRequest) -> Iterator[pb.DuplicatesEvent]:
        """Finds images that are one picture; the last event is the summary."""
        return self._stream(self._stub.Duplicates, request)

    def describe(self, repository: str = "") -> pb.DescribeResponse:
        """Says what the server is and holds."""
        return self._call(self._stub.Describe, pb.DescribeRequest(repository=repository), again=True)


class ComposerClient(_Client):
    """The composer."""

    service = "composer"

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: ClientTls | None = None,
        timeout_s: float = TIMEOUT_S,
        retry: Retry = PATIENT,
    ) -> None:
        super().__init__(address, token=token, tls=tls, timeout_s=timeout_s, retry=retry)
        self._stub = crpc.ComposerStub(self._channel)

    def compose(self, request: cpb.ComposeRequest) -> Iterator[cpb.ComposeEvent]:
        """Writes and illustrates an article; the last event is the article."""
        return self._stream(self._stub.Compose, request, again=True)

    def illustrate(self, request: cpb.IllustrateRequest) -> Iterator[cpb.ComposeEvent]:
        """Illustrates existing text; the last event is the article."""
        return self._stream(self._stub.Illustrate, request, again=True)

    def select(self, request: cpb.SelectRequest) -> cpb.SelectResponse:
        """Makes the context-aware choice alone."""
        return self._call(self._stub.Select, request, again=True)

    def edit(self, request: cpb.EditRequest) -> cpb.Article:
        """Changes an article."""
        return self._call(self._stub.Edit, request, again=True).article

    def chat(self, request: cpb.ChatRequest) -> Iterator[cpb.ChatEvent]:
        """Answers a question, piece by piece."""
        return self._stream(self._stub.Chat, request, again=True)

    def describe(self) -> cpb.DescribeComposerResponse:
        """Says what the server is and what its model can do."""
        return self._call(self._stub.Describe, cpb.DescribeComposerRequest(), again=True)
