"""The history of an article: every change records what it replaced, so that it can be undone.

The history is part of the article, so no server keeps a session.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xcomp_composer.article import serialize
from xcomp_composer.article.model import Article, HistoryEntry, Segment, Unfilled
from xcomp_protos.errors import InvalidRequest

MAX_CHANGES = 50


@dataclass(frozen=True, slots=True)
class _Change:
    """What a change replaced: segments from `at` on, and the fields of the whole article that it may change."""

    at: int
    count: int  # segments in their place after the change
    segments: tuple[Segment, ...]
    unfilled: tuple[Unfilled, ...]
    exclude_ids: tuple[str, ...] = ()


def replace_segments(
    article: Article, at: int, pieces: Sequence[Segment], *, operation: str, count: int = 1
) -> Article:
    """Replaces segments, renumbers later spots, and records in the history what was replaced.

    Args:
        article: the article before the change.
        at: number of the first replaced segment.
        pieces: the new segments: several for one, or as many as are replaced.
        operation: the change as a person would describe it.
        count: how many segments are replaced.
    """
    growth = len(pieces) - count
    change = _Change(
        at, len(pieces), article.segments[at : at + count], article.unfilled, exclude_ids=article.exclude_ids
    )
    before = json.dumps(serialize.to_builtins(change), ensure_ascii=False, separators=(",", ":"))
    entry = HistoryEntry(operation, before)
    unfilled = article.unfilled
    if growth:
        offset = next((i for i, piece in enumerate(pieces) if piece is article.segments[at]), growth)
        unfilled = tuple(_renumber(each, at, own=offset, later=growth) for each in article.unfilled)
    segments = (*article.segments[:at], *pieces, *article.segments[at + count :])
    return replace(article, segments=segments, unfilled=unfilled, history=(*article.history, entry)[-MAX_CHANGES:])


def undo(article: Article) -> Article:
    """Undoes the last change; raises InvalidRequest where none is left or its record cannot be read."""
    if not article.history:
        raise InvalidRequest("undo: no change is left to undo")
    try:
        change = serialize.convert(json.loads(article.history[-1].before), _Change, source="history")
    except (ValueError, RecursionError):
        raise InvalidRequest("history: the last change cannot be read, so it cannot be undone") from None
    return replace(
        article,
        segments=(*article.segments[: change.at], *change.segments, *article.segments[change.at + change.count :]),
        unfilled=change.unfilled,
        exclude_ids=change.exclude_ids,
        history=article.history[:-1],
    )


def _renumber(unfilled: Unfilled, at: int, *, own: int, later: int) -> Unfilled:
    if unfilled.segment < at:
        return unfilled
    return replace(unfilled, segment=unfilled.segment + (own if unfilled.segment == at else later))
