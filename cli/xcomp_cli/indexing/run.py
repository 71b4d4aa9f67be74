"""One run of `xcomp index`: the indexer reads the files that it sees, and the others are uploaded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from xcomp_cli.indexing.upload import upload
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, progress
from xcomp_indexer.ingest.scan import Entry
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Unavailable


@dataclass
class IngestOutcome:
    """The result of an ingest."""

    summary: pb.IngestSummary
    failures: list[pb.IngestFailure] = field(default_factory=list)


@dataclass(frozen=True)
class IngestJob:
    """Files to ingest, once or repeatedly."""

    indexer: str  # address; empty: the local one
    request: pb.IngestRequest  # its paths are the indexer's own
    uploads: Sequence[str]  # absolute paths of this machine
    settled: set[Entry] = field(default_factory=set)  # files that earlier runs uploaded


def run_ingest(job: IngestJob) -> IngestOutcome:
    """Runs an ingest once and returns its result."""

    with clients.indexer(job.indexer) as client:
        outcome = IngestOutcome(pb.IngestSummary(repository=job.request.repository))
        if job.request.paths:
            outcome = _follow(client.ingest(job.request))
        if job.uploads:
            _upload(client, job, outcome)
    return outcome


def _upload(client: IndexerClient, job: IngestJob, outcome: IngestOutcome) -> None:
    """Uploads files of this machine, and adds the result to the outcome."""

    header = pb.UploadHeader(repository=job.request.repository, profile=job.request.profile)
    exclude, report = job.request.exclude, outcome.failures.append
    try:
        done = upload(client, job.uploads, header=header, exclude=exclude, settled=job.settled, report=report)
    except KeyboardInterrupt:
        console.note("uploaded images stay; the same command continues from there")
        raise
    total = outcome.summary
    for name in ("scanned", "added", "updated", "unchanged", "failed", "seconds"):
        setattr(total, name, getattr(total, name) + getattr(done, name))
    total.images_per_second = total.images_per_second or done.images_per_second
    total.stages.update(done.stages)


def _follow(events: Iterable[pb.IngestEvent]) -> IngestOutcome:

    failures: list[pb.IngestFailure] = []
    try:
        with progress.show_bar("images") as advance:
            advance(0, 0, what="looking for images")
            for event in events:
                kind = event.WhichOneof("event")
                if kind == "summary":
                    return IngestOutcome(event.summary, failures)
                if kind == "failure":
                    failures.append(event.failure)
                elif event.progress.step:
                    advance(0, 0, what=f"arranging the store: {event.progress.step}")
                elif event.progress.total:
                    advance(event.progress.done, event.progress.total, what="indexing")
                else:
                    advance(0, 0, what=f"looking for images: {event.progress.scanned}")
    except KeyboardInterrupt:
        console.note("indexed images stay; the same command continues from there")
        raise
    raise Unavailable("the indexer ended before its summary: run the command again")
