"""The methods of operators: change the spaces of a repository, move it, rebuild it, copy it, find duplicates in it."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import TypeVar

import grpc

from xcomp_indexer.admin import duplicates, export, spaces
from xcomp_indexer.admin.backfill import Backfill
from xcomp_indexer.ingest.events import FillSummary
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.file_access import FileAccess
from xcomp_indexer.repository.image_record import ImagePayload
from xcomp_indexer.repository.profiles import SpaceSpec
from xcomp_indexer.search.engine import SearchEngine
from xcomp_indexer.server import messages, search_messages
from xcomp_indexer.store.compactor import BackgroundCompactor
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client.channel import CHUNK_BYTES
from xcomp_protos.errors import Cancelled

Item = TypeVar("Item")


class AdminHandlers:
    """Handles the calls of operators."""

    def __init__(self, catalog: RepositoryCatalog, search: SearchEngine, *, files: FileAccess) -> None:
        self._catalog, self._search, self._files = catalog, search, files

    def add_space(self, request: pb.AddSpaceRequest, context: grpc.ServicerContext) -> Iterator[pb.AddSpaceEvent]:
        """Add a space, or continue with one, and embed every image that lacks its vector."""
        repository = self._catalog.get(request.repository)
        with spaces.lock_filling(repository):
            spec = SpaceSpec(request.space, request.model)
            space = spaces.add_space(self._catalog, repository, spec, templates=tuple(request.templates))
            embedder = partial(self._catalog.embedder, repository)
            compactor = BackgroundCompactor(repository.store, repository.name)
            with closing(Backfill(repository, space.name, embedder, self._files).run()) as events:
                for event in _while_active(events, context):
                    message = messages.fill_message(event)
                    if isinstance(event, FillSummary):
                        self._search.forget(repository)
                        filled = repository.record.spaces[space.name]
                        message.summary.space.CopyFrom(messages.space_message(repository, filled))
                    yield message
                    for _ in _while_active(compactor.keep_up(), context):
                        pass

    def switch_spaces(self, request: pb.SwitchSpacesRequest) -> pb.SwitchSpacesResponse:
        """Choose the spaces that answer from now on."""
        repository = self._catalog.get(request.repository)
        before = repository.record.active
        spaces.check_switch(repository, tuple(request.spaces), force=request.force)
        self._search.prepare(repository, request.spaces)
        spaces.switch_spaces(repository, request.spaces)
        return pb.SwitchSpacesResponse(repository=messages.repository_message(repository), before=before)

    def drop_space(self, request: pb.DropSpaceRequest) -> pb.DropSpaceResponse:
        """Remove a space that does not answer."""
        repository = self._catalog.get(request.repository)
        vectors = spaces.drop_space(repository, request.space)
        self._search.forget(repository)
        return pb.DropSpaceResponse(repository=messages.repository_message(repository), vectors=vectors)

    def export(self, request: pb.ExportRequest) -> Iterator[pb.ExportResponse]:
        """Return a repository as a stream of bytes."""
        for piece in export.export_repository(self._catalog.get(request.name)):
            for start in range(0, len(piece), CHUNK_BYTES):
                yield pb.ExportResponse(chunk=piece[start : start + CHUNK_BYTES])

    def import_repository(self, request_iterator: Iterator[pb.ImportRequest]) -> pb.ImportResponse:
        """Create a repository from what `export` returned."""
        name = messages.parse_import(next(request_iterator, pb.ImportRequest()))
        reader = export.ExportReader(map(messages.parse_chunk, request_iterator))
        repository = export.import_repository(self._catalog, name, reader)
        return pb.ImportResponse(repository=messages.repository_message(repository))

    def optimize(self, request: pb.OptimizeRequest, context: grpc.ServicerContext) -> Iterator[pb.OptimizeEvent]:
        """Rebuild the layout of a repository in the store while it serves."""
        with closing(self._catalog.get(request.repository).store.optimize()) as steps:
            for step in _while_active(steps, context):
                yield pb.OptimizeEvent(step=step.name, seconds=step.seconds)

    def snapshot(self, request: pb.SnapshotRequest) -> pb.SnapshotResponse:
        """Take a snapshot where the store keeps them."""
        snapshot = self._catalog.get(request.repository).store.snapshot()
        return pb.SnapshotResponse(snapshot=pb.StoredSnapshot(**vars(snapshot)))

    def list_snapshots(self, request: pb.ListSnapshotsRequest) -> pb.ListSnapshotsResponse:
        """List the snapshots of a repository."""
        snapshots = self._catalog.get(request.repository).store.snapshots()
        return pb.ListSnapshotsResponse(snapshots=[pb.StoredSnapshot(**vars(each)) for each in snapshots])

    def find_duplicates(
        self, request: pb.DuplicatesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.DuplicatesEvent]:
        """Find images that are copies or near-duplicates of each other."""
        threshold = search_messages.check_share(request.threshold, field="threshold") or duplicates.ALIKE
        repository = self._catalog.get(request.repository)
        comparison = duplicates.Comparison(
            repository.store,
            repository.spaces[0].name,
            lambda image: self._files.content_of(ImagePayload.read(image.payload)),
            alike=threshold,
            allow_restricted=request.allow_restricted,
        )
        for event in _while_active(comparison.run(), context):
            yield search_messages.duplicates_message(event, repository.name)


def _while_active(items: Iterable[Item], context: grpc.ServicerContext) -> Iterator[Item]:
    """Yield the items; raise `Cancelled` when the caller goes away."""
    for item in items:
        if not context.is_active():
            raise Cancelled("the caller went away")
        yield item
