"""Article and events to protobuf and back. `wire_pictures` has the pictures.

Articles of a client are input: whatever makes no sense is refused with the name of its field.
"""

from collections.abc import Mapping
from typing import cast

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from xcomp_composer.article.events import Event, Spot, SpotCandidates, SpotIllustration, SpotQuery, TextDelta
from xcomp_composer.article.model import (
    Article,
    Candidate,
    Evidence,
    HistoryEntry,
    Illustration,
    Json,
    Label,
    Segment,
    SpaceScore,
    Unfilled,
)
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import InvalidRequest


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


def metadata_from_struct(struct: Struct) -> dict[str, Json]:
    """Returns the entries of a struct in the order of their names, whole numbers as integers."""
    return cast("dict[str, Json]", _whole(json_format.MessageToDict(struct)))


def labels_from_proto(messages: "list[common.Label] | tuple[common.Label, ...]") -> tuple[Label, ...]:
    """Returns the labels of an image."""
    return tuple(Label(message.en, message.zh, message.probability) for message in messages)


def spaces_from_proto(messages: Mapping[str, common.SpaceScore]) -> dict[str, SpaceScore]:
    """Returns what the spaces say, in the order of their names."""
    return {name: SpaceScore(each.rank, each.score, each.standout) for name, each in sorted(messages.items())}


def unfilled_from_proto(message: pb.Unfilled) -> Unfilled:
    """Returns the unfilled spot of a message."""
    return Unfilled(
        segment=message.segment,
        query=message.query,
        reason=message.reason,
        candidates=tuple(map(candidate_from_proto, message.candidates)),
        evidence=_evidence(message),
        interrupted=message.interrupted,
    )


def unfilled_to_proto(unfilled: Unfilled) -> pb.Unfilled:
    """Returns the message of an unfilled spot."""
    return pb.Unfilled(
        segment=unfilled.segment,
        query=unfilled.query,
        reason=unfilled.reason,
        candidates=[candidate_to_proto(candidate) for candidate in unfilled.candidates],
        evidence=_evidence_message(unfilled.evidence),
        interrupted=unfilled.interrupted,
    )


def candidate_from_proto(message: pb.Candidate) -> Candidate:
    """Returns the candidate of a message."""
    return Candidate(
        image_id=message.image_id,
        path=message.path,
        retrieval_score=message.retrieval_score,
        probability=message.probability if message.HasField("probability") else None,
        reason=message.reason,
        metadata=metadata_from_struct(message.metadata),
        labels=labels_from_proto(tuple(message.labels)),
        width=message.width,
        height=message.height,
        spaces=spaces_from_proto(message.spaces),
        content_hash=message.content_hash,
    )


def candidate_to_proto(candidate: Candidate) -> pb.Candidate:
    """Returns the message of a candidate."""
    return pb.Candidate(
        image_id=candidate.image_id,
        path=candidate.path,
        retrieval_score=candidate.retrieval_score,
        probability=candidate.probability,
        reason=candidate.reason,
        metadata=_struct(candidate.metadata),
        labels=[common.Label(en=label.en, zh=label.zh, probability=label.probability) for label in candidate.labels],
        width=candidate.width,
        height=candidate.height,
        spaces={
            name: common.SpaceScore(rank=each.rank, score=each.score, standout=each.standout)
            for name, each in candidate.spaces.items()
        },
        content_hash=candidate.content_hash,
    )


def illustration_from_proto(message: pb.Illustration) -> Illustration:
    """Returns the illustration of a message."""
    return Illustration(
        image_id=message.image_id,
        repository=message.repository,
        path=message.path,
        file=message.file,
        query=message.query,
        caption=message.caption,
        alt=message.alt,
        credit=message.credit,
        probability=message.probability if message.HasField("probability") else None,
        chosen_by=message.chosen_by,
        locked=message.locked,
        candidates=tuple(map(candidate_from_proto, message.candidates)),
        reason=message.reason,
        width=message.width,
        height=message.height,
        evidence=_evidence(message),
        content_hash=message.content_hash,
    )


def illustration_to_proto(illustration: Illustration) -> pb.Illustration:
    """Returns the message of an illustration."""
    return pb.Illustration(
        image_id=illustration.image_id,
        repository=illustration.repository,
        path=illustration.path,
        file=illustration.file,
        query=illustration.query,
        caption=illustration.caption,
        alt=illustration.alt,
        credit=illustration.credit,
        probability=illustration.probability,
        chosen_by=illustration.chosen_by,
        locked=illustration.locked,
        candidates=[candidate_to_proto(candidate) for candidate in illustration.candidates],
        reason=illustration.reason,
        width=illustration.width,
        height=illustration.height,
        evidence=_evidence_message(illustration.evidence),
        content_hash=illustration.content_hash,
    )


def _evidence(message: pb.Illustration | pb.Unfilled) -> Evidence | None:
    if not message.HasField("evidence"):
        return None
    held = message.evidence
    mass = held.mass if held.HasField("mass") else None
    return Evidence(held.prompt, held.model_digest, mass, held.orders, held.flipped)


def _evidence_message(evidence: Evidence | None) -> pb.Evidence | None:
    if evidence is None:
        return None
    return pb.Evidence(
        prompt=evidence.prompt,
        model_digest=evidence.model_digest,
        mass=evidence.mass,
        orders=evidence.orders,
        flipped=evidence.flipped,
    )


def _whole(value: object) -> object:
    """A struct knows only doubles, 4.0 was an integer before it travelled, and no order."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in sorted(value.items())}
    return value


def _struct(metadata: Mapping[str, Json]) -> Struct:
    struct = Struct()
    struct.update(metadata)
    return struct
