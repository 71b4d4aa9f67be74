"""article.json: an article as JSON, and back.

The file holds the keys of the contract and everything an edit needs, so that a bundle can be changed from its folder
alone. A person may have edited the file, so every field is checked. Does not depend on protobuf.
"""

import json
from collections.abc import Mapping
from typing import TypeVar, cast

import msgspec

from xcomp_composer.article.model import Article, Json
from xcomp_protos.errors import InvalidRequest

T = TypeVar("T")
_DEFAULTS = {"title": "", "language": "en", "model": "", "profile": "", "segments": ()}


def to_json(article: Article) -> dict[str, Json]:
    """Returns the JSON value of an article: its fields in their order, then what follows from them."""
    return {
        **cast("dict[str, Json]", to_builtins(article)),
        "shots": [{"segment": shot.segment, "query": shot.query, "reason": shot.reason} for shot in article.shots],
        "uncaptioned": [number for number, image in article.illustrations if image.is_uncaptioned],
    }


def from_json(value: Json) -> Article:
    """Returns the article of a JSON value.

    Raises:
        InvalidRequest: a required field is missing or a field has the wrong type; the message names the field.
    """
    article = convert({**_DEFAULTS, **value} if isinstance(value, Mapping) else value, Article, source="article.json")
    check_unfilled(article)
    return article


def dumps(article: Article) -> str:
    """Returns the text of article.json."""
    return json.dumps(to_json(article), ensure_ascii=False, indent=1) + "\n"


def loads(text: str) -> Article:
    """Returns the article in a text of article.json.

    Raises:
        InvalidRequest: the text is not JSON, or a field is wrong.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"article.json is not JSON: {error}") from None
    return from_json(value)


def check_unfilled(article: Article) -> None:
    """Raises InvalidRequest where an unfilled spot names a segment that does not exist."""
    for spot in article.unfilled:
        if not 0 <= spot.segment < len(article.segments):
            raise InvalidRequest(f"unfilled: there is no segment {spot.segment}, only {len(article.segments)}")


def to_builtins(value: object) -> Json:
    """Returns a dataclass, or a sequence of dataclasses, as JSON values; keys are the field names in their order."""
    return cast("Json", msgspec.to_builtins(value))


def convert(value: object, kind: type[T], *, source: str, strict: bool = True) -> T:
    """Returns the dataclass of JSON values; unknown keys are ignored.

    Args:
        value: what `to_builtins` returns.
        kind: the dataclass.
        source: where the value comes from, for the message of an error.
        strict: False converts a string to a number where the field is a number.

    Raises:
        InvalidRequest: a field is missing or of the wrong type, with its path such as `$.segments[0].text`.
    """
    try:
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidRequest(f"{source}: {error}") from None
