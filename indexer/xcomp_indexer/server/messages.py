"""Between messages and the indexer's own words: checks what came in, builds what goes out."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from google.protobuf.struct_pb2 import Struct

from xcomp_indexer.ingest import failure_log
from xcomp_indexer.ingest.events import Event, Failure, FillEvent, FillProgress, IngestRequest, Progress
from xcomp_indexer.ingest.upload import UploadHeader, UploadResult
from xcomp_indexer.repository import image_record
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.repository.spaces import Space
from xcomp_indexer.store import And, InSpace, ScoredPoint
from xcomp_protos import common_pb2
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import InvalidRequest

MAX_K = 1000
MAX_QUERY_CHARACTERS = 100_000


def order_of(request: pb.IngestRequest, *, within: Sequence[Path]) -> IngestRequest:
    """Reads what an ingest is asked to do; `within` are the folders that may be read."""
    if not request.paths:
        raise InvalidRequest("paths: name at least one file or folder")
    prune = request.prune if request.HasField("prune") else None
    return IngestRequest(
        list(request.paths),
        prune,
        dry_run=request.dry_run,
        exclude=list(request.exclude),
        retry_failed=request.retry_failed,
        within=within,
    )


def text_of(text: str, *, field: str = "query") -> str:
    """Checks a text that is to be embedded."""
    if not text.strip():
        raise InvalidRequest(f"{field}: is empty: say what the picture should show")
    if len(text) > MAX_QUERY_CHARACTERS:
        raise InvalidRequest(f"{field}: has {len(text)} characters, more than {MAX_QUERY_CHARACTERS}")
    return text


def page_token_of(request: pb.ListRequest) -> str | None:
    """Reads where a page starts: after the id of an image."""
    if not request.page_token:
        return None
    try:
        return str(uuid.UUID(request.page_token))
    except ValueError:
        raise InvalidRequest("page_token: is none that a previous page gave") from None


def event_message(event: Event) -> pb.IngestEvent:
    """Builds the message of an event; the summary's is complete but for the repository's name."""
    if isinstance(event, Progress):
        return pb.IngestEvent(progress=pb.IngestProgress(**vars(event)))
    if isinstance(event, Failure):
        return pb.IngestEvent(failure=pb.IngestFailure(**vars(event)))
    return pb.IngestEvent(summary=pb.IngestSummary(**vars(event)))


def fill_message(event: FillEvent) -> pb.AddSpaceEvent:
    """Builds the message of an event; the summary's is complete but for the space."""
    if isinstance(event, FillProgress):
        return pb.AddSpaceEvent(progress=pb.FillProgress(**vars(event)))
    if isinstance(event, Failure):
        return pb.AddSpaceEvent(failure=pb.IngestFailure(**vars(event)))
    return pb.AddSpaceEvent(summary=pb.FillSummary(**vars(event)))


def offer_of(first: pb.UploadRequest) -> UploadHeader:
    """Reads what a caller offers to upload."""
    if first.WhichOneof("part") != "header":
        raise InvalidRequest("header: is missing: it comes first, then the chunks")
    header = first.header
    return UploadHeader(
        repository=header.repository,
        name=header.name,
        size_bytes=header.size_bytes,
        content_hash=header.content_hash,
        profile=header.profile,
        sidecar=header.sidecar,
    )


def import_of(first: pb.ImportRequest) -> str:
    """Reads the name of the repository that is to be made."""
    if first.WhichOneof("part") != "header":
        raise InvalidRequest("header: is missing: it comes first, then the chunks")
    return first.header.name


def chunk_of(part: pb.UploadRequest | pb.ImportRequest) -> bytes:
    """Reads a piece of what is streamed in."""
    if part.WhichOneof("part") != "chunk":
        raise InvalidRequest("header: comes once, then chunks alone")
    return part.chunk


def taken_message(taken: UploadResult | None) -> pb.UploadResponse:
    """Builds the answer to an upload."""
    return pb.UploadResponse(**vars(taken)) if taken else pb.UploadResponse()


def image_message(found: ScoredPoint, repository: str) -> common_pb2.Image:
    """Builds the message of an image."""
    message = common_pb2.Image()
    write_image(message, found, repository)
    return message


def write_image(message: common_pb2.Image, found: ScoredPoint, repository: str) -> None:
    """Fills the empty message of an image in, where it stands in another one: those of a search would all be copied."""
    content = found.payload
    message.id, message.repository, message.path = found.id, repository, str(content["path"])
    message.width, message.height = cast("int", content["width"]), cast("int", content["height"])
    message.content_hash = str(content["content_hash"])
    message.metadata.update(cast("dict[str, str]", content["metadata"]))  # of any JSON: see `struct`
    for each in cast("Sequence[Mapping[str, object]]", content["labels"]):
        message.labels.add(en=str(each["en"]), zh=str(each["zh"]), probability=cast("float", each["p"]))


def repository_message(repository: Repository) -> pb.Repository:
    """Builds the message of a repository with its spaces."""
    failures = failure_log.count_failures(repository.store)
    images = repository.store.count() - sum(failures.values())
    last = repository.store.meta().get("last_ingest")
    return pb.Repository(
        name=repository.name,
        profile=repository.profile,
        images=images,
        spaces=[space_message(repository, space) for space in repository.held],
        size_bytes=repository.store.size_bytes(),
        last_ingest=struct(last if isinstance(last, Mapping) else {}),
        failures=failures,
    )


def space_message(repository: Repository, space: Space) -> pb.Space:
    """Builds the message of a space, its images counted."""
    return pb.Space(
        name=space.name,
        model=space.model,
        digest=space.digest,
        dimension=space.dimension,
        languages=space.languages,
        images=repository.store.count(And((image_record.IMAGES, InSpace(space.name)))),
        state=repository.record.state(space.name),
        source=space.source,
        templates=space.templates,
    )


def struct(values: Mapping[str, object]) -> Struct:
    """Builds a JSON object."""
    message = Struct()
    message.update(cast("dict[str, str]", dict(values)))  # of any JSON: the stubs spell that out recursively
    return message
