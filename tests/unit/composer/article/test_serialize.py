"""Articles and events come back from JSON and protobuf as they went in, whatever their fields hold."""

import json
import random
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from google.protobuf.descriptor import Descriptor

from xcomp_composer.article import proto, serialize
from xcomp_composer.article.events import Event, Spot, SpotCandidates, SpotIllustration, SpotQuery, TextDelta
from xcomp_composer.article.model import Article, Candidate, Illustration, Json, Segment, SpaceScore, Unfilled
from xcomp_protos import composer_pb2 as pb
from xcomp_protos.errors import InvalidRequest

SEEDS = range(40)
EVENTS = (TextDelta, Spot, SpotQuery, SpotCandidates, SpotIllustration, Unfilled)
TEXTS = ("", "words", "null", "true", "7", "NaN", "两行\n文字", '"quoted" <b> & \u2028', "e\u0301👩‍👧", "$.segments[0]")
NUMBERS = (0.0, 1.0, -1.0, 0.1, 1 / 3, 3.25, 1e-12, 1e300, -2.5e17)
METADATA: tuple[Mapping[str, Json], ...] = (
    {},
    {"title": "A cup", "width": 4, "focal": 3.5, "rated": True, "none": None},
    {"a": [1, 2.5, "x", [], {"b": None}], "n": {"deep": {"deeper": [0, -1, 2**40]}}},
)


def value_of(kind: Any, chance: random.Random, depth: int = 0) -> Any:
    """A value of an annotation; half of what may be absent is absent."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{each.name: value_of(hints[each.name], chance, depth + 1) for each in fields(kind)})  # type: ignore[operator]
    if isinstance(kind, UnionType):
        (inner,) = set(get_args(kind)) - {NoneType}
        return value_of(inner, chance, depth) if chance.random() < 0.5 else None
    if get_origin(kind) is tuple:
        return tuple(value_of(get_args(kind)[0], chance, depth) for _ in range(chance.randint(0, 2)))
    if get_origin(kind) is Mapping:
        inner = get_args(kind)[1]
        if inner not in (float, SpaceScore):
            return chance.choice(METADATA)
        return {
            f"{name} {depth}": value_of(inner, chance, depth) for name in ("a", "clip", "中")[: chance.randint(0, 3)]
        }
    choices = {str: TEXTS, float: NUMBERS, int: (0, 1, 7, 2**32 - 1), bool: (False, True)}
    return chance.choice(choices[kind])


def article_of(seed: int) -> Article:
    chance = random.Random(seed)
    article: Article = value_of(Article, chance)
    segments = (*article.segments, Segment("last"))
    return replace(
        article,
        segments=segments,
        seed=chance.choice((0, -3, 2**63 - 1)),
        language=article.language or "en",
        format=article.format or "markdown",
        unfilled=tuple(replace(each, segment=each.segment % len(segments)) for each in article.unfilled),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_every_field_of_an_article_comes_back(seed: int) -> None:
    article = article_of(seed)
    text = serialize.dumps(article)
    assert serialize.loads(text) == article
    assert serialize.dumps(serialize.loads(text)) == text
    assert proto.from_proto(proto.to_proto(article)) == article


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("seed", SEEDS[:10])
def test_every_field_of_an_event_comes_back(kind: type[Event], seed: int) -> None:
    event = value_of(kind, random.Random(seed))
    message = pb.ComposeEvent.FromString(proto.event_to_proto(event).SerializeToString(deterministic=True))
    assert proto.event_from_proto(message) == event


def test_metadata_keep_their_types() -> None:
    candidate = Candidate("a", metadata=METADATA[2])
    article = Article("", "en", "", "", (Segment("", Illustration("a", candidates=(candidate,))),))
    for read in (serialize.loads(serialize.dumps(article)), proto.from_proto(proto.to_proto(article))):
        (illustration,) = [each for _, each in read.illustrations]
        assert json.dumps(illustration.candidates[0].metadata) == json.dumps(METADATA[2])


@pytest.mark.parametrize(("kind", "descriptor"), [(Article, pb.Article.DESCRIPTOR), *((each, None) for each in EVENTS)])
def test_messages_and_dataclasses_have_the_same_fields(kind: type, descriptor: Descriptor | None) -> None:
    found = descriptor or pb.DESCRIPTOR.message_types_by_name[kind.__name__]
    _compare(kind, found)


def _compare(kind: type, descriptor: Descriptor) -> None:
    hints = get_type_hints(kind)
    assert {each.name for each in fields(kind)} == {each.name for each in descriptor.fields}
    for each in descriptor.fields:
        inner = next((one for one in (hints[each.name], *get_args(hints[each.name])) if is_dataclass(one)), None)
        if isinstance(inner, type) and each.message_type and not each.message_type.GetOptions().map_entry:
            _compare(inner, each.message_type)


def test_article_json_has_every_key_in_the_order_of_the_contract() -> None:
    evidence = '"evidence": null'
    article = Article("标题", "zh", "m", "p", (Segment("Words.\n", Illustration("a")), Segment("More.")))
    article = replace(article, unfilled=(Unfilled(1, "q", "none fits", (Candidate("b", "/b.jpg", 1e-05),)),))
    assert json.dumps(serialize.to_json(article), ensure_ascii=False) == (
        '{"title": "标题", "language": "zh", "model": "m", "profile": "p", "seed": 0, "segments": ['
        '{"text": "Words.\\n", "illustration": {"image_id": "a", "repository": "", '
        '"path": "", "file": "", "query": "", "caption": "", '
        '"alt": "", "credit": "", "probability": null, "chosen_by": "", "locked": false, "candidates": [], '
        f'"reason": "", "width": 0, "height": 0, {evidence}, "content_hash": ""}}}}, '
        '{"text": "More.", "illustration": null}], "unfilled": [{"segment": 1, "query": "q", "reason": "none fits", '
        '"candidates": [{"image_id": "b", "path": "/b.jpg", "retrieval_score": 1e-05, "probability": null, '
        '"reason": "", "metadata": {}, "labels": [], "width": 0, "height": 0, "spaces": {}, "content_hash": ""}], '
        f'{evidence}, "interrupted": false}}], "history": [], "seconds": {{}}, "repository": "", "format": "markdown", '
        '"draft": false, "exclude_ids": [], "shots": [{"segment": 1, "query": "q", "reason": "none fits"}], '
        '"uncaptioned": [0]}'
    )
    assert serialize.dumps(article) == json.dumps(serialize.to_json(article), ensure_ascii=False, indent=1) + "\n"


def test_a_bundle_of_another_version_is_read() -> None:
    older: dict[str, Json] = {
        "segments": [{"text": "a", "illustration": {"image_id": "x", "candidates": [{"image_id": "y"}]}}]
    }
    newer: dict[str, Json] = {**older, "from the future": {"a": 1}, "unfilled": [{"segment": 0, "more": [1]}]}
    assert serialize.from_json({}) == Article("", "en", "", "", ())
    (segment,) = serialize.from_json(older).segments
    assert segment == Segment("a", Illustration("x", candidates=(Candidate("y"),)))
    assert serialize.from_json(newer).unfilled == (Unfilled(0),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"segments": [{"text": 3}]}, "article.json: Expected `str`, got `int` - at `$.segments[0].text`"),
        ({"segments": [{}]}, "article.json: Object missing required field `text` - at `$.segments[0]`"),
        ({"seed": "7"}, "article.json: Expected `int`, got `str` - at `$.seed`"),
        ({"draft": 1}, "article.json: Expected `bool`, got `int` - at `$.draft`"),
        ({"seconds": {"write": "1"}}, "article.json: Expected `float`, got `str` - at `$.seconds[...]`"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_in_one_line(value: Json, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        serialize.from_json(value)
    assert str(refused.value) == message


def test_a_number_that_no_message_can_hold_is_refused_in_one_line() -> None:
    article = Article("", "en", "", "", (Segment("", Illustration("a", width=-1)),))
    with pytest.raises(InvalidRequest, match="width") as refused:
        proto.to_proto(article)
    assert "\n" not in str(refused.value)
