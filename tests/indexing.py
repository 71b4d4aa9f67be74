"""An indexer of the profile `color` in this process, spoken to over real gRPC."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from grpc_health.v1 import health_pb2

from tests.fakes import CountingEmbedder
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.ingest.upload_dir import FOLDER, UploadDir
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.server.service import IndexerService
from xcomp_indexer.store import Stores
from xcomp_indexer.store.edge.stores import GRAPH_FROM, SEAL_FROM, EdgeStores
from xcomp_indexer.store.factory import open_stores
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client import IndexerClient
from xcomp_protos.server.auth import Access
from xcomp_protos.server.run import ServerEndpoint, ServiceSpec, start_server


@dataclass(frozen=True)
class Indexer:
    """A running indexer and what stands behind it."""

    address: str
    client: IndexerClient
    embedder: CountingEmbedder
    loads: list[str]  # models loaded, in order
    library: RepositoryCatalog

    def ingest(
        self,
        *paths: Path | str,
        repository: str = "default",
        prune: bool | None = None,
        dry_run: bool = False,
        exclude: Sequence[str] = (),
        retry_failed: bool = False,
    ) -> tuple[pb.IngestSummary, dict[str, str]]:
        """Runs an ingest; returns its summary and the reason of each failure by file name."""
        request = pb.IngestRequest(
            repository=repository,
            paths=map(str, paths),
            prune=prune,
            dry_run=dry_run,
            exclude=exclude,
            retry_failed=retry_failed,
        )
        events = list(self.client.ingest(request))
        failures = {
            Path(event.failure.path).name: event.failure.reason for event in events if event.HasField("failure")
        }
        return events[-1].summary, failures

    def search(self, *parts: pb.QueryPart | str, k: int = 5, **conditions: object) -> list[str]:
        """Returns the names of the files found, best first; a text stands for a part."""
        return [Path(hit.image.path).name for hit in self.hits(*parts, k=k, **conditions).hits]

    def hits(self, *parts: pb.QueryPart | str, k: int = 5, **conditions: object) -> pb.QueryResult:
        """Returns the answer to one query."""
        query = pb.Query(parts=[pb.QueryPart(text=part) if isinstance(part, str) else part for part in parts])
        request = pb.SearchRequest(repository="default", queries=[query], k=k, **conditions)  # type: ignore[arg-type]
        return self.client.search(request).results[0]

    def images(self, repository: str = "default", **conditions: object) -> dict[str, str]:
        """Returns the ids of all images by file name."""
        request = pb.ListRequest(
            repository=repository,
            page_size=1000,
            allow_restricted=True,
            **conditions,  # type: ignore[arg-type]
        )
        return {Path(image.path).name: image.id for image in self.client.list_images(request).images}


def counts(summary: pb.IngestSummary) -> dict[str, int]:
    """Returns the counts of an ingest that are not 0."""
    fields = ("scanned", "added", "updated", "unchanged", "renamed", "removed", "failed", "removable")
    return {name: value for name in fields if (value := getattr(summary, name))}


def _stores(home: Path, store: str, *, seal_from: int, graph_from: int) -> Stores:
    return open_stores(store) if store else EdgeStores(home, indexes={}, seal_from=seal_from, graph_from=graph_from)


@contextmanager
def serving(
    home: Path,
    *,
    roots: Sequence[Path] = (Path("/"),),
    access: Access | None = None,
    listen: str = "127.0.0.1:0",
    seal_from: int = SEAL_FROM,
    graph_from: int = GRAPH_FROM,
    others: Mapping[str, Embedder] = MappingProxyType({}),
    store: str = "",
) -> Iterator[Indexer]:
    """Serves the repositories below a folder, by default on a free port; `others` are further models, by name.

    `store` is the address of another store.
    """
    embedder = CountingEmbedder()
    loads: list[str] = []

    def load(model: str) -> Embedder:
        loads.append(model)
        return others.get(model, embedder)

    library = RepositoryCatalog(
        _stores(home, store, seal_from=seal_from, graph_from=graph_from), EmbedderCache(load), default_profile="color"
    )
    service = IndexerService(library, roots=roots, upload_dir=UploadDir(home.parent / FOLDER))
    register = ServiceSpec("xcomp.v1.Indexer", lambda server: rpc.add_IndexerServicer_to_server(service, server))
    try:
        with start_server([register], ServerEndpoint(listen, access=access)) as running:
            running.set_health(health_pb2.HealthCheckResponse.SERVING)
            with IndexerClient(running.address, token=access.grants[0].token if access else None) as client:
                yield Indexer(running.address, client, embedder, loads, library)
    finally:
        library.close()
