"""Servers for the tests of the command line: real gRPC, canned answers."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import composer_pb2_grpc as crpc
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.server import auth
from xcomp_protos.server.run import ServerEndpoint, ServiceSpec, serve

JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")


SNAPSHOT = pb.StoredSnapshot(name="2024-01-31", created="2024-01-31T00:00:00Z", size_bytes=2_000_000)


class FakeIndexer(rpc.IndexerServicer):
    """Answers with what it was given and keeps the requests."""

    def __init__(self) -> None:
        self.events = [pb.IngestEvent(summary=pb.IngestSummary(repository="default"))]
        self.hits: list[common.Hit] = []
        self.images: list[common.Image] = []  # of every listing
        self.language = common.LANGUAGE_EN  # of every query
        self.best_confidence = 0.0
        self.repositories: list[pb.Repository] = []
        self.engines: dict[str, str] = {}  # what runs each model in memory
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.is_changed = False  # the files, since they were indexed
        self.health = health_pb2.HealthCheckResponse.SERVING
        self.requests: list[object] = []

    def _heard(self, request: object, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        if self.refusal:
            context.set_trailing_metadata((("xcomp-error", "test"),))
            context.abort(*self.refusal)

    def Ingest(self, request: pb.IngestRequest, context: grpc.ServicerContext) -> Iterator[pb.IngestEvent]:  # noqa: N802
        self._heard(request, context)
        yield from self.events

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> pb.SearchResponse:  # noqa: N802
        self._heard(request, context)
        found = pb.QueryResult(
            language=self.language, spaces=["en"], hits=self.hits, best_confidence=self.best_confidence
        )
        return pb.SearchResponse(results=[found], seconds=0.25)

    def Fetch(self, request: pb.FetchRequest, context: grpc.ServicerContext) -> Iterator[pb.FetchResponse]:  # noqa: N802
        self._heard(request, context)
        if self.is_changed:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "dock.jpg has changed: run xcomp index again")
        yield pb.FetchResponse(header=pb.FetchHeader(media_type="image/jpeg", suffix=".jpg", size_bytes=len(JPEG)))
        yield pb.FetchResponse(chunk=JPEG)

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeResponse:  # noqa: N802
        self._heard(request, context)
        wanted = [one for one in self.repositories if request.repository in ("", one.name)]
        return pb.DescribeResponse(
            version="1", build=str(os.getpid()), store="memory", repositories=wanted,
            models_loaded=list(self.engines), engines=self.engines,
        )  # fmt: skip

    def ListRepositories(  # noqa: N802
        self, request: pb.ListRepositoriesRequest, context: grpc.ServicerContext
    ) -> pb.ListRepositoriesResponse:
        self._heard(request, context)
        return pb.ListRepositoriesResponse(repositories=self.repositories)

    def CreateRepository(  # noqa: N802
        self, request: pb.CreateRepositoryRequest, context: grpc.ServicerContext
    ) -> pb.CreateRepositoryResponse:
        self._heard(request, context)
        return pb.CreateRepositoryResponse(repository=pb.Repository(name=request.name, profile=request.profile))

    def DeleteRepository(  # noqa: N802
        self, request: pb.DeleteRepositoryRequest, context: grpc.ServicerContext
    ) -> pb.DeleteRepositoryResponse:
        self._heard(request, context)
        return pb.DeleteRepositoryResponse(deleted=3)

    def List(self, request: pb.ListRequest, context: grpc.ServicerContext) -> pb.ListResponse:  # noqa: N802
        self._heard(request, context)
        return pb.ListResponse(images=self.images)

    def GetImages(  # noqa: N802
        self, request: pb.GetImagesRequest, context: grpc.ServicerContext
    ) -> pb.GetImagesResponse:
        return pb.GetImagesResponse()

    def Delete(self, request: pb.DeleteRequest, context: grpc.ServicerContext) -> pb.DeleteResponse:  # noqa: N802
        return pb.DeleteResponse()

    def Embed(self, request: pb.EmbedRequest, context: grpc.ServicerContext) -> pb.EmbedResponse:  # noqa: N802
        return pb.EmbedResponse()

    def Upload(  # noqa: N802
        self, request_iterator: Iterator[pb.UploadRequest], context: grpc.ServicerContext
    ) -> pb.UploadResponse:
        return pb.UploadResponse()

    def AddSpace(  # noqa: N802
        self, request: pb.AddSpaceRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.AddSpaceEvent]:
        raise NotImplementedError

    def SwitchSpaces(  # noqa: N802
        self, request: pb.SwitchSpacesRequest, context: grpc.ServicerContext
    ) -> pb.SwitchSpacesResponse:
        raise NotImplementedError

    def DropSpace(  # noqa: N802
        self, request: pb.DropSpaceRequest, context: grpc.ServicerContext
    ) -> pb.DropSpaceResponse:
        raise NotImplementedError

    def Export(self, request: pb.ExportRequest, context: grpc.ServicerContext) -> Iterator[pb.ExportResponse]:  # noqa: N802
        raise NotImplementedError

    def Duplicates(  # noqa: N802
        self, request: pb.DuplicatesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.DuplicatesEvent]:
        self.requests.append(request)
        yield pb.DuplicatesEvent(progress=pb.DuplicatesProgress(done=2, total=2))
        images = [pb.Duplicate(image=common.Image(id=each, path=f"/p/{each}.jpg")) for each in ("a", "b")]
        yield pb.DuplicatesEvent(group=pb.DuplicateGroup(copies=True, count=2, images=images))
        yield pb.DuplicatesEvent(summary=pb.DuplicatesSummary(images=2, groups=1))

    def Import(  # noqa: N802
        self, request_iterator: Iterator[pb.ImportRequest], context: grpc.ServicerContext
    ) -> pb.ImportResponse:
        raise NotImplementedError

    def Optimize(  # noqa: N802
        self, request: pb.OptimizeRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.OptimizeEvent]:
        self.requests.append(request)
        yield pb.OptimizeEvent(step="copy", seconds=0.5)
        yield pb.OptimizeEvent(step="clean up", seconds=2.25)

    def Snapshot(self, request: pb.SnapshotRequest, context: grpc.ServicerContext) -> pb.SnapshotResponse:  # noqa: N802
        self.requests.append(request)
        return pb.SnapshotResponse(snapshot=SNAPSHOT)

    def ListSnapshots(  # noqa: N802
        self, request: pb.ListSnapshotsRequest, context: grpc.ServicerContext
    ) -> pb.ListSnapshotsResponse:
        return pb.ListSnapshotsResponse(snapshots=[SNAPSHOT])


class FakeComposer(crpc.ComposerServicer):
    """Answers with what it was given and keeps the requests."""

    def __init__(self, article: cpb.Article) -> None:
        self.article = article
        self.events: Iterable[cpb.ComposeEvent] = ()
        self.choice = cpb.SelectResponse(choice=1, probabilities=[0.25, 0.75], mass=0.5)
        self.described = cpb.DescribeComposerResponse(indexer_status="SERVING")
        self.requests: list[object] = []

    def Illustrate(  # noqa: N802
        self, request: cpb.IllustrateRequest, context: grpc.ServicerContext
    ) -> Iterator[cpb.ComposeEvent]:
        self.requests.append(request)
        yield from self.events
        yield cpb.ComposeEvent(article=self.article)

    def Compose(self, request: cpb.ComposeRequest, context: grpc.ServicerContext) -> Iterator[cpb.ComposeEvent]:  # noqa: N802
        self.requests.append(request)
        yield from self.events
        yield cpb.ComposeEvent(article=self.article)

    def Select(self, request: cpb.SelectRequest, context: grpc.ServicerContext) -> cpb.SelectResponse:  # noqa: N802
        self.requests.append(request)
        return self.choice

    def Edit(self, request: cpb.EditRequest, context: grpc.ServicerContext) -> cpb.EditResponse:  # noqa: N802
        self.requests.append(request)
        return cpb.EditResponse(article=self.article)

    def Chat(self, request: cpb.ChatRequest, context: grpc.ServicerContext) -> Iterator[cpb.ChatEvent]:  # noqa: N802
        yield cpb.ChatEvent()

    def Describe(  # noqa: N802
        self, request: cpb.DescribeComposerRequest, context: grpc.ServicerContext
    ) -> cpb.DescribeComposerResponse:
        return self.described


@contextmanager
def serving(indexer: FakeIndexer, folder: Path, composer: FakeComposer | None = None) -> Iterator[str]:
    """Serves one or both on a private socket; yields its address."""
    address = f"unix:{folder}/fake.sock"
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    rpc.add_IndexerServicer_to_server(indexer, server)
    status = health.HealthServicer()
    status.set("xcomp.v1.Indexer", indexer.health)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    if composer:
        crpc.add_ComposerServicer_to_server(composer, server)
    server.add_insecure_port(address)
    server.start()
    try:
        yield address
    finally:
        server.stop(None).wait()


def _say(address: str) -> None:
    print(f"listening on {address}", file=sys.stderr, flush=True)


def main() -> None:
    """Runs a fake indexer as a process of its own, as the command line starts one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen")
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--die", action="store_true")
    arguments = parser.parse_args()
    if arguments.die:
        print("the store is broken", file=sys.stderr)
        sys.exit(1)
    tokens = auth.read_tokens(str(arguments.token_file), option="--token-file") if arguments.token_file else None
    service = ServiceSpec("xcomp.v1.Indexer", lambda server: rpc.add_IndexerServicer_to_server(FakeIndexer(), server))
    serve([service], ServerEndpoint(arguments.listen, access=tokens, idle_timeout_s=60, announce=_say))


if __name__ == "__main__":
    main()
