"""The history of an article: every change notes what it replaced, so that it can be taken back.

The history travels with the article, so nobody keeps a session.
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
    """What a change replaced: `count` segments from `at` on, and what belongs to the whole article."""

    at: int
    count: int  # segments that stand there since the change
    segments: tuple[Segment, ...]
    unfilled: tuple[Unfilled, ...]
    exclude_ids: tuple[str, ...] = ()


def replace_segments(
    article: Article, at: int, pieces: Sequence[Segment], *, operation: str, count: int = 1
) -> Article:
    """Puts segments in the place of others, moves the numbers of later spots, and notes what was there.

    Args:
        article: before the change.
        at: first segment that goes.
        pieces: what comes; several in the place of one, or as many as go.
        operation: what is done, as a person would say it.
        count: segments that go.
    """
    grown = len(pieces) - count
    change = _Change(
        at, len(pieces), article.segments[at : at + count], article.unfilled, exclude_ids=article.exclude_ids
    )
    before = json.dumps(serialize.to_builtins(change), ensure_ascii=False, separators=(",", ":"))
    entry = HistoryEntry(operation, before)
    moved = article.unfilled
    if grown:
        offset = next((i for i, piece in enumerate(pieces) if piece is article.segments[at]), grown)
        moved = tuple(_renumber(each, at, own=offset, later=grown) for each in article.unfilled)
    segments = (*article.segments[:at], *pieces, *article.segments[at + count :])
    return replace(article, segments=segments, unfilled=moved, history=(*article.history, entry)[-MAX_CHANGES:])


def undo(article: Article) -> Article:
    """Takes the last change back."""
    if not article.history:
        raise InvalidRequest("undo: no change is left to take back")
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
