"""The methods that change what a repository is made of, move it, or look it over: rare, and an operator's.

The everyday methods stand on top of them in `service.py`.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import grpc

from xcomp_indexer.admin import duplicates, export, spaces
from xcomp_indexer.admin.backfill import Backfill
from xcomp_indexer.ingest.events import FillSummary
from xcomp_indexer.ingest.upload_dir import UploadDir
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.file_access import FileAccess
from xcomp_indexer.repository.image_record import ImagePayload
from xcomp_indexer.repository.profiles import SpaceSpec
from xcomp_indexer.search.engine import SearchEngine
from xcomp_indexer.server import messages, search_messages
from xcomp_indexer.store.compactor import (
    BackgroundCompactor,
)
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client.channel import CHUNK_BYTES
from xcomp_protos.errors import Cancelled


class Upkeep(rpc.IndexerServicer):
    """The part of `xcomp.v1.Indexer` that operators use."""

    def __init__(self, library: RepositoryCatalog, *, roots: Sequence[Path], inbox: UploadDir) -> None:
        self._library = library
        self._search = SearchEngine(library)
        self._inbox = inbox
        self._allowed = FileAccess(roots, inbox.folder)

    def AddSpace(self, request: pb.AddSpaceRequest, context: grpc.ServicerContext) -> Iterator[pb.AddSpaceEvent]:
        """Adds a space, or goes on with one, and embeds every image that lacks its vector."""
        repository = self._library.get(request.repository)
        with spaces.lock_filling(repository):
            space = spaces.add_space(
                self._library,
                repository,
                SpaceSpec(request.space, request.model),
                templates=tuple(request.templates),
            )
            embedder = partial(self._library.embedder, repository)
            sealing = BackgroundCompactor(repository.store, repository.name)
            with closing(Backfill(repository, space.name, embedder, self._allowed).run()) as events:
                for event in events:
                    if not context.is_active():
                        raise Cancelled("the caller went away")
                    message = messages.fill_message(event)
                    if isinstance(event, FillSummary):
                        self._search.forget(repository)
                        message.summary.space.CopyFrom(
                            messages.space_message(repository, repository.record.spaces[space.name])
                        )
                    yield message
                    for _ in sealing.keep_up():
                        if not context.is_active():
                            raise Cancelled("the caller went away")

    def SwitchSpaces(
        self,
        request: pb.SwitchSpacesRequest,
        context: grpc.ServicerContext,
    ) -> pb.SwitchSpacesResponse:
        """Says which spaces answer from now on."""
        repository = self._library.get(request.repository)
        before = repository.record.active
        spaces.check_switch(repository, tuple(request.spaces), force=request.force)
        self._search.prepare(repository, request.spaces)
        spaces.switch_spaces(repository, request.spaces)
        return pb.SwitchSpacesResponse(repository=messages.repository_message(repository), before=before)

    def DropSpace(self, request: pb.DropSpaceRequest, context: grpc.ServicerContext) -> pb.DropSpaceResponse:
        """Removes a space that does not answer."""
        repository = self._library.get(request.repository)
        vectors = spaces.drop_space(repository, request.space)
        self._search.forget(repository)
        return pb.DropSpaceResponse(repository=messages.repository_message(repository), vectors=vectors)

    def Export(self, request: pb.ExportRequest, context: grpc.ServicerContext) -> Iterator[pb.ExportResponse]:
        """Hands out a repository as a stream of bytes."""
        for piece in export.export_repository(self._library.get(request.name)):
            for start in range(0, len(piece), CHUNK_BYTES):
                yield pb.ExportResponse(chunk=piece[start : start + CHUNK_BYTES])

    def Import(self, request_iterator: Iterator[pb.ImportRequest], context: grpc.ServicerContext) -> pb.ImportResponse:
        """Makes a repository of what `Export` handed out."""
        name = messages.import_of(next(request_iterator, pb.ImportRequest()))
        reader = export.ExportReader(map(messages.chunk_of, request_iterator))
        return pb.ImportResponse(
            repository=messages.repository_message(export.import_repository(self._library, name, reader))
        )

    def Optimize(self, request: pb.OptimizeRequest, context: grpc.ServicerContext) -> Iterator[pb.OptimizeEvent]:
        """Rebuilds how a repository lies in the store, while it serves."""
        with closing(self._library.get(request.repository).store.optimize()) as steps:
            for step in steps:
                if not context.is_active():
                    raise Cancelled("the caller went away")
                yield pb.OptimizeEvent(step=step.name, seconds=step.seconds)

    def Snapshot(self, request: pb.SnapshotRequest, context: grpc.ServicerContext) -> pb.SnapshotResponse:
        """Takes a snapshot where the store keeps them."""
        taken = self._library.get(request.repository).store.snapshot()
        return pb.SnapshotResponse(snapshot=pb.StoredSnapshot(**vars(taken)))

    def ListSnapshots(
        self, request: pb.ListSnapshotsRequest, context: grpc.ServicerContext
    ) -> pb.ListSnapshotsResponse:
        """Names the snapshots of a repository."""
        kept = self._library.get(request.repository).store.snapshots()
        return pb.ListSnapshotsResponse(snapshots=[pb.StoredSnapshot(**vars(each)) for each in kept])

    def Duplicates(self, request: pb.DuplicatesRequest, context: grpc.ServicerContext) -> Iterator[pb.DuplicatesEvent]:
        """Finds the images that are one picture."""
        alike = search_messages.share_of(request.threshold, field="threshold") or duplicates.ALIKE
        repository = self._library.get(request.repository)
        comparison = duplicates.Comparison(
            repository.store,
            repository.spaces[0].name,
            lambda image: self._allowed.content_of(ImagePayload.read(image.payload)),
            alike=alike,
            allow_restricted=request.allow_restricted,
        )
        for event in comparison.run():
            if not context.is_active():
                raise Cancelled("the caller went away")
            yield search_messages.duplicates_message(event, repository.name)
