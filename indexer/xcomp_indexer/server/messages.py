"""Converts between messages and the indexer's own types: parses and checks requests, builds responses."""

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


def parse_ingest(request: pb.IngestRequest, *, within: Sequence[Path]) -> IngestRequest:
    """Parse a request to ingest; `within` are the folders that may be read."""
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


def check_text(text: str, *, field: str = "query") -> str:
    """Check a text that is to be embedded and return it."""
    if not text.strip():
        raise InvalidRequest(f"{field}: is empty: say what the image should show")
    if len(text) > MAX_QUERY_CHARACTERS:
        raise InvalidRequest(f"{field}: has {len(text)} characters, more than {MAX_QUERY_CHARACTERS}")
    return text


def parse_page_token(request: pb.ListRequest) -> str | None:
    """Parse the token of a page: the id of the image after which it starts."""
    if not request.page_token:
        return None
    try:
        return str(uuid.UUID(request.page_token))
    except ValueError:
        raise InvalidRequest("page_token: is not one that a previous page returned") from None


def event_message(event: Event) -> pb.IngestEvent:
    """Build the message of an event; a summary lacks the repository's name."""
    if isinstance(event, Progress):
        return pb.IngestEvent(progress=pb.IngestProgress(**vars(event)))
    if isinstance(event, Failure):
        return pb.IngestEvent(failure=pb.IngestFailure(**vars(event)))
    return pb.IngestEvent(summary=pb.IngestSummary(**vars(event)))


def fill_message(event: FillEvent) -> pb.AddSpaceEvent:
    """Build the message of an event; a summary lacks the space."""
    if isinstance(event, FillProgress):
        return pb.AddSpaceEvent(progress=pb.FillProgress(**vars(event)))
    if isinstance(event, Failure):
        return pb.AddSpaceEvent(failure=pb.IngestFailure(**vars(event)))
    return pb.AddSpaceEvent(summary=pb.FillSummary(**vars(event)))


def parse_upload(first: pb.UploadRequest) -> UploadHeader:
    """Parse the header of an upload."""
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


def parse_import(first: pb.ImportRequest) -> str:
    """Parse the name of the repository to create."""
    if first.WhichOneof("part") != "header":
        raise InvalidRequest("header: is missing: it comes first, then the chunks")
    return first.header.name


def parse_chunk(part: pb.UploadRequest | pb.ImportRequest) -> bytes:
    """Parse a chunk of a stream."""
    if part.WhichOneof("part") != "chunk":
        raise InvalidRequest("header: comes once, only chunks follow")
    return part.chunk


def upload_message(result: UploadResult | None) -> pb.UploadResponse:
    """Build the answer to an upload."""
    return pb.UploadResponse(**vars(result)) if result else pb.UploadResponse()


def image_message(found: ScoredPoint, repository: str) -> common_pb2.Image:
    """Build the message of an image."""
    message = common_pb2.Image()
    write_image(message, found, repository)
    return message


def write_image(message: common_pb2.Image, found: ScoredPoint, repository: str) -> None:
    """Fill in an empty message of an image within another one, which saves a search one copy per image."""
    content = found.payload
    message.id, message.repository, message.path = found.id, repository, str(content["path"])
    message.width, message.height = cast("int", content["width"]), cast("int", content["height"])
    message.content_hash = str(content["content_hash"])
    message.metadata.update(cast("dict[str, str]", content["metadata"]))  # any JSON, see `struct`
    for each in cast("Sequence[Mapping[str, object]]", content["labels"]):
        message.labels.add(en=str(each["en"]), zh=str(each["zh"]), probability=cast("float", each["p"]))


def repository_message(repository: Repository) -> pb.Repository:
    """Build the message of a repository with its spaces."""
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
    """Build the message of a space, with the number of its images."""
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
    """Build the message of a JSON object."""
    message = Struct()
    message.update(cast("dict[str, str]", dict(values)))  # any JSON, which the stubs define recursively
    return message
