"""Converts between the messages of a search and the indexer's own types: parses requests, builds responses."""

from collections.abc import Mapping, Sequence

from xcomp_indexer.admin.duplicates import Compared, Duplicate, DuplicateReport, Event
from xcomp_indexer.search.comparison import SimilarPair
from xcomp_indexer.search.engine import QueryResult
from xcomp_indexer.search.filter_parser import parse
from xcomp_indexer.search.query import Part, Route, SearchRequest
from xcomp_indexer.search.ranking import RankedHit
from xcomp_indexer.server.messages import MAX_K, check_text, image_message, write_image
from xcomp_protos import common_pb2
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import InvalidRequest

MAX_QUERIES = 256

_ROUTES: Mapping[int, Route] = {
    common_pb2.LANGUAGE_UNSPECIFIED: "auto",
    common_pb2.LANGUAGE_EN: "en",
    common_pb2.LANGUAGE_ZH: "zh",
    common_pb2.LANGUAGE_ALL: "all",
}
_LANGUAGES = {"en": common_pb2.LANGUAGE_EN, "zh": common_pb2.LANGUAGE_ZH, "mixed": common_pb2.LANGUAGE_ALL}


def parse_search(request: pb.SearchRequest) -> SearchRequest:
    """Parse and check a batch of queries."""
    if not 1 <= len(request.queries) <= MAX_QUERIES:
        raise InvalidRequest(f"queries: send 1 to {MAX_QUERIES} of them, not {len(request.queries)}")
    if not 1 <= request.k <= MAX_K:
        raise InvalidRequest(f"k: must be 1 to {MAX_K}, not {request.k}")
    if request.language not in _ROUTES:
        raise InvalidRequest(f"language: {request.language} is not a value of the enum")
    return SearchRequest(
        queries=[[_parse_part(part) for part in _check_parts(query)] for query in request.queries],
        k=request.k,
        route=_ROUTES[request.language],
        where=parse(list(request.where)),
        exclude_ids=frozenset(request.exclude_ids),
        only_ids=frozenset(request.only_ids),
        diversity=check_share(request.diversity, field="diversity"),
        allow_restricted=request.allow_restricted,
        collapse=check_share(request.collapse, field="collapse"),
        min_confidence=check_share(request.min_confidence, field="min_confidence"),
        space_weights=_check_weights(request.space_weights),
        exact=request.exact,
        all_spaces=request.all_spaces,
        min_similarity=check_share(request.min_similarity, field="min_similarity"),
        compare_ids=frozenset(request.compare_ids),
    )


def check_share(number: float, *, field: str) -> float:
    """Check a number from 0 to 1 and return it."""
    if not 0 <= number <= 1:  # NaN as well
        raise InvalidRequest(f"{field}: must be 0 to 1, not {number}")
    return number


def _check_weights(weights: Mapping[str, float]) -> dict[str, float]:
    for space, weight in weights.items():
        if not 0 <= weight <= 100:
            raise InvalidRequest(f"space_weights: that of {space!r} must be 0 to 100, not {weight}")
    return dict(weights)


def _check_parts(query: pb.Query) -> list[pb.QueryPart]:
    if not query.parts:
        raise InvalidRequest("queries: a query has no part: give it a text, an image or an image_id")
    return list(query.parts)


def _parse_part(part: pb.QueryPart) -> Part:
    kind = part.WhichOneof("content")
    weight = part.weight if part.HasField("weight") else 1.0
    if not -100 <= weight <= 100:
        raise InvalidRequest(f"weight: must be -100 to 100, not {weight}")
    if kind == "text":
        return Part(text=check_text(part.text), weight=weight)
    if kind == "image" and part.image:
        return Part(image=part.image, weight=weight)
    if kind == "image_id" and part.image_id:
        return Part(id=part.image_id, weight=weight)
    raise InvalidRequest("queries: a part is empty: give it a text, an image or an image_id")


def response_message(
    results: Sequence[QueryResult], repository: str, *, pairs: Sequence[SimilarPair] = (), has_vectors: bool = False
) -> pb.SearchResponse:
    """Build the message of the results of all queries, with the vectors of the queries if wanted."""
    message = pb.SearchResponse(similarities=[pb.Similarity(**pair._asdict()) for pair in pairs])
    for answer in results:
        result = message.results.add(
            language=_LANGUAGES[answer.language], spaces=answer.spaces, best_confidence=answer.best_confidence
        )
        if answer.background:
            result.background.median, result.background.ninth_decile = answer.background
        for rank, hit in enumerate(answer.hits, start=1):
            _write_hit(result.hits.add(rank=rank), hit, repository)
        for space, vector in answer.vectors.items() if has_vectors else ():
            result.vectors[space].values.extend(vector.tolist())
    return message


def _write_hit(message: common_pb2.Hit, hit: RankedHit, repository: str) -> None:
    write_image(message.image, hit.found, repository)
    message.score, message.standout, message.confidence = hit.score, hit.standout, hit.confidence
    message.folded = hit.folded
    for name, score in hit.spaces.items():
        rank_of = message.spaces[name]
        rank_of.rank, rank_of.score, rank_of.standout = score.rank, score.score, score.standout


def duplicates_message(event: Event, repository: str) -> pb.DuplicatesEvent:
    """Build the message of an event of a comparison."""
    if isinstance(event, Compared):
        return pb.DuplicatesEvent(progress=pb.DuplicatesProgress(**vars(event)))
    if isinstance(event, DuplicateReport):
        return pb.DuplicatesEvent(summary=pb.DuplicatesSummary(**vars(event)))
    images = [_duplicate(each, repository) for each in event.images[:MAX_K]]
    return pb.DuplicatesEvent(group=pb.DuplicateGroup(copies=event.copies, count=len(event.images), images=images))


def _duplicate(each: Duplicate, repository: str) -> pb.Duplicate:
    image = image_message(each.image, repository)
    image.ClearField("metadata")  # a thousand of them must fit into a message
    image.ClearField("labels")
    return pb.Duplicate(image=image, similarity=each.similarity, distance=each.distance)
