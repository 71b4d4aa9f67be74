"""article.json: the article as a program reads it, and back.

It holds the keys of the contract and, beside them, whatever an edit needs to go on from the folder alone. What it reads
may have been edited by hand, so every field is checked.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TypeVar, cast

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
from xcomp_protos.errors import InvalidRequest

T = TypeVar("T")
Record = Mapping[str, Json]


def to_json(article: Article) -> dict[str, Json]:
    """Returns the JSON value of an article, keys in the order of the contract."""
    return {
        "title": article.title,
        "language": article.language,
        "model": article.model,
        "profile": article.profile,
        "seed": article.seed,
        "segments": entries_to_json(article.segments),
        "unfilled": entries_to_json(article.unfilled),
        "history": entries_to_json(article.history),
        "seconds": dict(article.seconds),
        "repository": article.repository,
        "format": article.format,
        "draft": article.draft,
        "exclude_ids": list(article.excluded),
        "shots": [{"segment": shot.segment, "query": shot.query, "reason": shot.reason} for shot in article.shots],
        "uncaptioned": [number for number, picture in article.illustrated if picture.uncaptioned],
    }


def from_json(value: Json) -> Article:
    """Returns the article of a JSON value.

    Raises:
        InvalidRequest: a field is missing or of the wrong kind; the message names it.
    """
    record = _record(value, "article")
    segments = _many(record, "segments", segment_from_json)
    unfilled = _many(record, "unfilled", unfilled_from_json)
    for spot in unfilled:
        if not 0 <= spot.segment < len(segments):
            raise InvalidRequest(f"unfilled: there is no segment {spot.segment}, only {len(segments)}")
    return Article(
        title=_get(record, "title", str, ""),
        language=_get(record, "language", str, "en"),
        model=_get(record, "model", str, ""),
        profile=_get(record, "profile", str, ""),
        segments=segments,
        seed=_get(record, "seed", int, 0),
        unfilled=unfilled,
        history=_many(record, "history", _history),
        seconds={
            key: float(cast("float", second)) for key, second in _record(record.get("seconds", {}), "seconds").items()
        },
        format=_get(record, "format", str, "markdown"),
        repository=_get(record, "repository", str, ""),
        draft=_get(record, "draft", bool, False),
        excluded=_many(record, "exclude_ids", _text),
    )


def dumps(article: Article) -> str:
    """Returns the text of article.json."""
    return json.dumps(to_json(article), ensure_ascii=False, indent=1) + "\n"


def loads(text: str) -> Article:
    """Returns the article that a text of article.json holds.

    Raises:
        InvalidRequest: it is no JSON, or a field is wrong.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"article.json is no JSON: {error}") from None
    return from_json(value)


def entries_to_json(entries: Sequence[Segment | Unfilled | HistoryEntry]) -> list[Json]:
    """Returns the JSON value of a run of segments, unfilled spots or changes: their fields by name."""
    return [asdict(entry) for entry in entries]


def segment_from_json(value: Json) -> Segment:
    """Returns the segment of a JSON value; raises InvalidRequest like `from_json`."""
    record = _record(value, "segments")
    picture = record.get("illustration")
    return Segment(_get(record, "text", str), None if picture is None else _illustration(picture))


def unfilled_from_json(value: Json) -> Unfilled:
    """Returns the unfilled spot of a JSON value; raises InvalidRequest like `from_json`."""
    record = _record(value, "unfilled")
    return Unfilled(
        segment=_get(record, "segment", int),
        query=_get(record, "query", str, ""),
        reason=_get(record, "reason", str, ""),
        candidates=_many(record, "candidates", _candidate),
        evidence=_evidence_or_none(record),
        interrupted=_get(record, "interrupted", bool, False),
    )


def _illustration(value: Json) -> Illustration:
    record = _record(value, "illustration")
    return Illustration(
        image_id=_get(record, "image_id", str),
        repository=_get(record, "repository", str, ""),
        path=_get(record, "path", str, ""),
        file=_get(record, "file", str, ""),
        query=_get(record, "query", str, ""),
        caption=_get(record, "caption", str, ""),
        alt=_get(record, "alt", str, ""),
        credit=_get(record, "credit", str, ""),
        probability=_number_or_none(record, "probability"),
        chosen_by=_get(record, "chosen_by", str, ""),
        locked=_get(record, "locked", bool, False),
        candidates=_many(record, "candidates", _candidate),
        reason=_get(record, "reason", str, ""),
        width=_get(record, "width", int, 0),
        height=_get(record, "height", int, 0),
        evidence=_evidence_or_none(record),
        content_hash=_get(record, "content_hash", str, ""),
    )


def _candidate(value: Json) -> Candidate:
    record = _record(value, "candidates")
    return Candidate(
        image_id=_get(record, "image_id", str),
        path=_get(record, "path", str, ""),
        retrieval_score=_number_or_none(record, "retrieval_score") or 0.0,
        probability=_number_or_none(record, "probability"),
        reason=_get(record, "reason", str, ""),
        metadata=_record(record.get("metadata", {}), "metadata"),
        labels=_many(record, "labels", _label),
        width=_get(record, "width", int, 0),
        height=_get(record, "height", int, 0),
        spaces={name: _space(each) for name, each in _record(record.get("spaces", {}), "spaces").items()},
        content_hash=_get(record, "content_hash", str, ""),
    )


def _space(value: Json) -> SpaceScore:
    record = _record(value, "spaces")
    score, standout = (_number_or_none(record, name) or 0.0 for name in ("score", "standout"))
    return SpaceScore(_get(record, "rank", int, 0), score, standout)


def _evidence_or_none(value: Record) -> Evidence | None:
    if value.get("evidence") is None:
        return None
    record = _record(value["evidence"], "evidence")
    return Evidence(
        prompt=_get(record, "prompt", str, ""),
        model_digest=_get(record, "model_digest", str, ""),
        mass=_number_or_none(record, "mass"),
        orders=_get(record, "orders", int, 0),
        flipped=_get(record, "flipped", bool, False),
    )


def _label(value: Json) -> Label:
    record = _record(value, "labels")
    probability = _number_or_none(record, "probability") or 0.0
    return Label(_get(record, "en", str, ""), _get(record, "zh", str, ""), probability)


def _history(value: Json) -> HistoryEntry:
    record = _record(value, "history")
    return HistoryEntry(_get(record, "operation", str, ""), _get(record, "before", str))


def _record(value: Json, name: str) -> Record:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name}: expected an object, got {value!r:.60}")
    return value


def _many(record: Record, name: str, read: Callable[[Json], T]) -> tuple[T, ...]:
    value = record.get(name, [])
    if not isinstance(value, list):
        raise InvalidRequest(f"{name}: expected a list, got {value!r:.60}")
    return tuple(read(item) for item in value)


def _text(value: Json) -> str:
    return _get({"entry": value}, "entry", str)


def _get(record: Record, name: str, kind: type[T], default: T | None = None) -> T:
    value = record.get(name, default)
    if not isinstance(value, kind):
        raise InvalidRequest(f"{name}: expected {kind.__name__}, got {value!r:.60}")
    return value


def _number_or_none(record: Record, name: str) -> float | None:
    value = record.get(name)
    if value is not None and not isinstance(value, int | float):
        raise InvalidRequest(f"{name}: expected a number, got {value!r:.60}")
    return None if value is None else float(value)
