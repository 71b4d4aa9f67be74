"""The methods that bring images in: `Ingest` of folders that the server can read, and `Upload` of single files."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial

import grpc

from xcomp_indexer.ingest import failure_log
from xcomp_indexer.ingest.compaction import with_compaction
from xcomp_indexer.ingest.discover import preview
from xcomp_indexer.ingest.events import Event, Failure, Summary
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.ingest.upload import Uploads
from xcomp_indexer.ingest.upload_dir import UploadDir
from xcomp_indexer.repository.catalog import RepositoryCatalog, check_name
from xcomp_indexer.repository.file_access import FileAccess
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.search.engine import SearchEngine
from xcomp_indexer.server import messages
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Cancelled, ImageError, NotFound, one_line
from xcomp_protos.server import auth
from xcomp_protos.telemetry import api

WAIT_S = 0.2  # interval at which a waiting ingest checks whether its caller is there

EventStream = Generator[Event, None, None]


class IngestHandlers:
    """Handles the calls that add images to repositories."""

    def __init__(
        self, catalog: RepositoryCatalog, search: SearchEngine, *, files: FileAccess, upload_dir: UploadDir
    ) -> None:
        self._catalog, self._search, self._files = catalog, search, files
        self._uploads = Uploads(catalog, upload_dir)

    def ingest(self, request: pb.IngestRequest, context: grpc.ServicerContext) -> Iterator[pb.IngestEvent]:
        """Bring a repository up to date; wait while another ingest of it runs."""
        ingest = messages.parse_ingest(request, within=self._files.roots)
        for path in ingest.paths:
            self._files.check_indexable(path)
        if ingest.dry_run and not ingest.retry_failed and not self._catalog.exists(request.repository):
            yield from _send(preview(ingest), request.repository, context)
            return
        self._check_may_create(request.repository)
        get = self._catalog.get if ingest.retry_failed else self._catalog.get_or_create
        repository = get(request.repository, profile=request.profile)
        with self._lock_ingest(repository, context):
            events = Ingest(repository, partial(self._catalog.embedder, repository), ingest).run()
            if not ingest.dry_run:
                events = with_compaction(repository, self._record(repository, events))
            yield from _send(events, repository.name, context)

    def upload(self, request_iterator: Iterator[pb.UploadRequest]) -> pb.UploadResponse:
        """Add one file whose bytes the caller sends."""
        header = messages.parse_upload(next(request_iterator, pb.UploadRequest()))
        self._check_may_create(header.repository)
        try:
            result = self._uploads.receive(header, map(messages.parse_chunk, request_iterator))
        except ImageError as error:
            failure = pb.IngestFailure(path=header.name, reason=error.reason, message=one_line(str(error)))
            return pb.UploadResponse(failure=failure)
        if result:
            self._search.recount(self._catalog.get(header.repository))
        return messages.upload_message(result)

    def _check_may_create(self, name: str) -> None:
        """Raise `Denied` if a repository would have to be created, which is for an admin."""
        check_name(name)
        if not self._catalog.exists(name):
            auth.check_may_create(name)

    @contextmanager
    def _lock_ingest(self, repository: Repository, context: grpc.ServicerContext) -> Iterator[None]:
        """Hold the ingest lock of a repository; give up when the caller goes away."""
        with api.count_waiting("ingest"):
            while not repository.ingesting.acquire(timeout=WAIT_S):
                if not context.is_active():
                    raise Cancelled("the caller went away")
        try:
            if not self._catalog.is_open(repository):
                raise NotFound(f"repository {repository.name!r} was deleted while this ingest waited: run it again")
            yield
        finally:
            repository.ingesting.release()

    def _record(self, repository: Repository, events: EventStream) -> EventStream:
        """Pass events on; update the calibrations and store the failures of the run with the repository."""
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


def _send(events: EventStream, name: str, context: grpc.ServicerContext) -> Iterator[pb.IngestEvent]:
    """Turn events into messages; end the ingest when the caller goes away."""
    with closing(events):
        for event in events:
            if not context.is_active():
                raise Cancelled("the caller went away")
            message = messages.event_message(event)
            if isinstance(event, Summary):
                message.summary.repository = name
            yield message
