"""Between messages and the indexer's own words: checks what came in, builds what goes out."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from xcomp_indexer import ledger
from xcomp_indexer.events import Event, Failure, Order, Progress
from xcomp_indexer.library import Repository
from xcomp_indexer.search import Answer, Hit, Part, Question, Route
from xcomp_indexer.store import Found
from xcomp_indexer.store.payload import ImagePayload, printable
from xcomp_indexer.upload import Offer, Taken
from xcomp_indexer.where import parse
from xcomp_protos import common_pb2
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.transport.errors import InvalidRequest

MAX_QUERIES = 256
MAX_K = 1000
MAX_QUERY_CHARACTERS = 100_000

_ROUTES: Mapping[int, Route] = {
    common_pb2.LANGUAGE_UNSPECIFIED: "auto",
    common_pb2.LANGUAGE_EN: "en",
    common_pb2.LANGUAGE_ZH: "zh",
    common_pb2.LANGUAGE_ALL: "all",
}
_LANGUAGES = {"en": common_pb2.LANGUAGE_EN, "zh": common_pb2.LANGUAGE_ZH, "mixed": common_pb2.LANGUAGE_ALL}


def order_of(request: pb.IngestRequest, *, within: Sequence[Path]) -> Order:
    """Reads what an ingest is asked to do; `within` are the folders that may be read."""
    if not request.paths:
        raise InvalidRequest("paths: name at least one file or folder")
    prune = request.prune if request.HasField("prune") else None
    return Order(
        list(request.paths),
        prune,
        dry_run=request.dry_run,
        exclude=list(request.exclude),
        retry_failed=request.retry_failed,
        within=within,
    )


def question_of(request: pb.SearchRequest) -> Question:
    """Reads a batch of queries."""
    if not 1 <= len(request.queries) <= MAX_QUERIES:
        raise InvalidRequest(f"queries: send 1 to {MAX_QUERIES} of them, not {len(request.queries)}")
    if not 1 <= request.k <= MAX_K:
        raise InvalidRequest(f"k: must be 1 to {MAX_K}, not {request.k}")
    if not 0 <= request.diversity <= 1:
        raise InvalidRequest(f"diversity: must be 0 to 1, not {request.diversity}")
    if request.language not in _ROUTES:
        raise InvalidRequest(f"language: {request.language} is none of the enum's values")
    return Question(
        queries=[[_part(part) for part in _parts(query)] for query in request.queries],
        k=request.k,
        route=_ROUTES[request.language],
        where=parse(list(request.where)),
        exclude_ids=frozenset(request.exclude_ids),
        only_ids=frozenset(request.only_ids),
        diversity=request.diversity,
        allow_restricted=request.allow_restricted,
    )


def _parts(query: pb.Query) -> list[pb.QueryPart]:
    if not query.parts:
        raise InvalidRequest("queries: a query has no part: give it a text, an image or an image_id")
    return list(query.parts)


def _part(part: pb.QueryPart) -> Part:
    kind = part.WhichOneof("content")
    weight = part.weight if part.HasField("weight") else 1.0
    if not -100 <= weight <= 100:
        raise InvalidRequest(f"weight: must be -100 to 100, not {weight}")
    if kind == "text":
        return Part(text=text_of(part.text), weight=weight)
    if kind == "image" and part.image:
        return Part(image=part.image, weight=weight)
    if kind == "image_id" and part.image_id:
        return Part(id=part.image_id, weight=weight)
    raise InvalidRequest("queries: a part is empty: give it a text, an image or an image_id")


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


def offer_of(first: pb.UploadRequest) -> Offer:
    """Reads what a caller offers to upload."""
    if first.WhichOneof("part") != "header":
        raise InvalidRequest("header: is missing: it comes first, then the chunks")
    header = first.header
    return Offer(
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


def taken_message(taken: Taken | None) -> pb.UploadResponse:
    """Builds the answer to an upload."""
    return pb.UploadResponse(**vars(taken)) if taken else pb.UploadResponse()


def answer_message(answer: Answer, repository: str) -> pb.QueryResult:
    """Builds the message of one query's hits."""
    hits = [_hit_message(hit, rank, repository) for rank, hit in enumerate(answer.hits, start=1)]
    background = answer.background and common_pb2.Background(
        median=answer.background[0], ninth_decile=answer.background[1]
    )
    return pb.QueryResult(language=_LANGUAGES[answer.language], spaces=answer.spaces, hits=hits, background=background)


def _hit_message(hit: Hit, rank: int, repository: str) -> common_pb2.Hit:
    spaces = {name: common_pb2.SpaceScore(**vars(score)) for name, score in hit.spaces.items()}
    return common_pb2.Hit(
        image=image_message(hit.found, repository),
        rank=rank,
        score=hit.score,
        spaces=spaces,
        standout=hit.standout,
        confidence=hit.confidence,
    )


def image_message(found: Found, repository: str) -> common_pb2.Image:
    """Builds the message of an image."""
    content = ImagePayload.read(found.payload)
    labels = [common_pb2.Label(en=each.en, zh=each.zh, probability=each.probability) for each in content.labels]
    return common_pb2.Image(
        id=found.id,
        repository=repository,
        path=printable(str(content.path)),
        width=content.width,
        height=content.height,
        content_hash=content.content_hash,
        metadata=struct(content.metadata),
        labels=labels,
    )


def repository_message(repository: Repository) -> pb.Repository:
    """Builds the message of a repository with its spaces."""
    failures = ledger.counts(repository.store)
    images = repository.store.count() - sum(failures.values())
    spaces = [
        pb.Space(
            name=name,
            model=str(model["model"]),
            digest=str(model["digest"]),
            dimension=int(str(model["dimension"])),
            languages=model["languages"] if isinstance(model["languages"], list) else [],
            images=images,
        )
        for name, model in repository.models.items()
    ]
    last = repository.store.meta().get("last_ingest")
    return pb.Repository(
        name=repository.name,
        profile=repository.profile,
        images=images,
        spaces=spaces,
        size_bytes=repository.store.size_bytes(),
        last_ingest=struct(last if isinstance(last, Mapping) else {}),
        failures=failures,
    )


def struct(values: Mapping[str, object]) -> Struct:
    """Builds a JSON object."""
    return ParseDict(dict(values), Struct())
