"""Articles and events as protobuf messages, and back. Field names of messages and dataclasses are the same."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar, cast

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from xcomp_composer.article.events import Event, Spot, SpotCandidates, SpotIllustration, SpotQuery, TextDelta
from xcomp_composer.article.model import Article, Json, Label, SpaceScore, Unfilled
from xcomp_composer.article.serialize import check_unfilled, convert, to_builtins
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import InvalidRequest

T = TypeVar("T")
_EVENTS: dict[str, type[Event]] = {
    "text": TextDelta,
    "spot": Spot,
    "query": SpotQuery,
    "candidates": SpotCandidates,
    "illustration": SpotIllustration,
    "unfilled": Unfilled,
    "article": Article,
}
_FIELDS = {kind: name for name, kind in _EVENTS.items()}


def to_proto(article: Article) -> pb.Article:
    """Returns the message of an article; raises InvalidRequest where a number does not fit its field."""
    return event_to_proto(article).article


def from_proto(message: pb.Article) -> Article:
    """Returns the article of a message.

    Raises:
        InvalidRequest: an unfilled spot names a segment that does not exist.
    """
    article = _from_message(message, Article)
    check_unfilled(article)
    return replace(article, language=article.language or "en", format=article.format or "markdown")


def event_to_proto(event: Event) -> pb.ComposeEvent:
    """Returns the message of an event; raises InvalidRequest where a number does not fit its field."""
    field = _FIELDS[type(event)]
    try:
        return json_format.Parse(json.dumps({field: to_builtins(event)}), pb.ComposeEvent())
    except json_format.ParseError as error:
        raise InvalidRequest(f"article: {error}") from None


def event_from_proto(message: pb.ComposeEvent) -> Event | None:
    """Returns the event of a message; None for a kind that only a newer server sends."""
    field = message.WhichOneof("event")
    if field is None:
        return None
    return from_proto(message.article) if field == "article" else _from_message(getattr(message, field), _EVENTS[field])


def metadata_from_struct(struct: Struct) -> dict[str, Json]:
    """Returns the entries of a struct in the order of their names, whole numbers as integers."""
    return cast("dict[str, Json]", _restore_types(json_format.MessageToDict(struct)))


def labels_from_proto(messages: Iterable[common.Label]) -> tuple[Label, ...]:
    """Returns the labels of an image."""
    return tuple(Label(message.en, message.zh, message.probability) for message in messages)


def spaces_from_proto(messages: Mapping[str, common.SpaceScore]) -> dict[str, SpaceScore]:
    """Returns the scores of the spaces in the order of their names."""
    return {name: SpaceScore(each.rank, each.score, each.standout) for name, each in sorted(messages.items())}


def _from_message(message: Message, kind: type[T]) -> T:
    values = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    # not strict: `MessageToDict` writes 64-bit integers as strings
    return convert(_restore_types(values), kind, source=message.DESCRIPTOR.name.lower(), strict=False)


def _restore_types(value: object) -> object:
    """Restores integers and an order of keys: a Struct has only doubles, and a protobuf map has no order."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_restore_types(item) for item in value]
    if isinstance(value, dict):
        return {key: _restore_types(item) for key, item in sorted(value.items())}
    return value
