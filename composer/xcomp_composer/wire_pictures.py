"""Pictures as messages and back: candidates, illustrations, spots that stay empty, and what a choice rests on."""

from collections.abc import Mapping
from typing import cast

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from xcomp_composer.article import Candidate, Evidence, Illustration, Json, Label, SpaceScore, Unfilled
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as pb


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
