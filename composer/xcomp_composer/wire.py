"""Article and events to protobuf and back. `wire_pictures` has the pictures.

Articles of a client are input: whatever makes no sense is refused with the name of its field.
"""

from xcomp_composer.article import Article, HistoryEntry, Segment, Unfilled
from xcomp_composer.events import Event, Spot, SpotCandidates, SpotIllustration, SpotQuery, TextDelta
from xcomp_composer.wire_pictures import (
    candidate_from_proto,
    candidate_to_proto,
    illustration_from_proto,
    illustration_to_proto,
    unfilled_from_proto,
    unfilled_to_proto,
)
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.transport.errors import InvalidRequest


def to_proto(article: Article) -> pb.Article:
    """Returns the message of an article."""
    return pb.Article(
        title=article.title,
        language=article.language,
        model=article.model,
        profile=article.profile,
        seed=article.seed,
        segments=[_segment_message(segment) for segment in article.segments],
        unfilled=[unfilled_to_proto(unfilled) for unfilled in article.unfilled],
        history=[pb.HistoryEntry(operation=entry.operation, before=entry.before) for entry in article.history],
        seconds=article.seconds,
        format=article.format,
        repository=article.repository,
        draft=article.draft,
        exclude_ids=article.excluded,
    )


def from_proto(message: pb.Article) -> Article:
    """Returns the article of a message.

    Raises:
        InvalidRequest: an unfilled spot after a segment that is not there.
    """
    segments = tuple(_segment(segment) for segment in message.segments)
    for unfilled in message.unfilled:
        if unfilled.segment >= len(segments):
            raise InvalidRequest(f"article.unfilled: there is no segment {unfilled.segment}, only {len(segments)}")
    return Article(
        title=message.title,
        language=message.language or "en",
        model=message.model,
        profile=message.profile,
        segments=segments,
        seed=message.seed,
        unfilled=tuple(unfilled_from_proto(unfilled) for unfilled in message.unfilled),
        history=tuple(HistoryEntry(entry.operation, entry.before) for entry in message.history),
        seconds=dict(sorted(message.seconds.items())),
        format=message.format or "markdown",
        repository=message.repository,
        draft=message.draft,
        excluded=tuple(message.exclude_ids),
    )


def event_to_proto(event: Event) -> pb.ComposeEvent:
    """Returns the message of an event."""
    match event:
        case TextDelta(text):
            return pb.ComposeEvent(text=pb.TextDelta(text=text))
        case Spot(segment, score):
            return pb.ComposeEvent(spot=pb.Spot(segment=segment, score=score))
        case SpotQuery(segment, query):
            return pb.ComposeEvent(query=pb.SpotQuery(segment=segment, query=query))
        case SpotCandidates(segment, candidates):
            messages = [candidate_to_proto(candidate) for candidate in candidates]
            return pb.ComposeEvent(candidates=pb.SpotCandidates(segment=segment, candidates=messages))
        case SpotIllustration(segment, illustration):
            chosen = pb.SpotIllustration(segment=segment, illustration=illustration_to_proto(illustration))
            return pb.ComposeEvent(illustration=chosen)
        case Unfilled():
            return pb.ComposeEvent(unfilled=unfilled_to_proto(event))
        case Article():
            return pb.ComposeEvent(article=to_proto(event))


def event_from_proto(message: pb.ComposeEvent) -> Event | None:
    """Returns the event of a message; None for a kind that a newer server sends."""
    match message.WhichOneof("event"):
        case "text":
            return TextDelta(message.text.text)
        case "spot":
            return Spot(message.spot.segment, message.spot.score)
        case "query":
            return SpotQuery(message.query.segment, message.query.query)
        case "candidates":
            return SpotCandidates(
                message.candidates.segment, tuple(map(candidate_from_proto, message.candidates.candidates))
            )
        case "illustration":
            return SpotIllustration(
                message.illustration.segment, illustration_from_proto(message.illustration.illustration)
            )
        case "unfilled":
            return unfilled_from_proto(message.unfilled)
        case "article":
            return from_proto(message.article)
        case _:
            return None


def _segment(message: pb.Segment) -> Segment:
    picture = illustration_from_proto(message.illustration) if message.HasField("illustration") else None
    return Segment(message.text, picture)


def _segment_message(segment: Segment) -> pb.Segment:
    picture = illustration_to_proto(segment.illustration) if segment.illustration else None
    return pb.Segment(text=segment.text, illustration=picture)
