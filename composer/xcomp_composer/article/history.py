"""The history of an article: every change notes what it replaced, so that it can be taken back.

The history travels with the article, so nobody keeps a session.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from xcomp_composer.article import serialize
from xcomp_composer.article.model import Article, HistoryEntry, Segment, Unfilled
from xcomp_protos.errors import InvalidRequest

KEPT_CHANGES = 50


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
    before = {
        "at": at,
        "count": len(pieces),
        "segments": serialize.entries_to_json(article.segments[at : at + count]),
        "unfilled": serialize.entries_to_json(article.unfilled),
        "exclude_ids": list(article.excluded),
    }
    entry = HistoryEntry(operation, json.dumps(before, ensure_ascii=False, separators=(",", ":")))
    moved = article.unfilled
    if grown:
        offset = next((i for i, piece in enumerate(pieces) if piece is article.segments[at]), grown)
        moved = tuple(_moved(each, at, own=offset, later=grown) for each in article.unfilled)
    segments = (*article.segments[:at], *pieces, *article.segments[at + count :])
    return replace(article, segments=segments, unfilled=moved, history=(*article.history, entry)[-KEPT_CHANGES:])


def undo(article: Article) -> Article:
    """Takes the last change back."""
    if not article.history:
        raise InvalidRequest("undo: no change is left to take back")
    try:
        before = json.loads(article.history[-1].before)
        at, count = int(before["at"]), int(before["count"])
        old = [serialize.segment_from_json(value) for value in before["segments"]]
        unfilled = [serialize.unfilled_from_json(value) for value in before["unfilled"]]
        excluded = tuple(map(str, before.get("exclude_ids", ())))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidRequest("history: the last change cannot be read and so not be taken back") from None
    segments = (*article.segments[:at], *old, *article.segments[at + count :])
    return replace(
        article, segments=segments, unfilled=tuple(unfilled), excluded=excluded, history=article.history[:-1]
    )


def _moved(unfilled: Unfilled, at: int, *, own: int, later: int) -> Unfilled:
    if unfilled.segment < at:
        return unfilled
    return replace(unfilled, segment=unfilled.segment + (own if unfilled.segment == at else later))
