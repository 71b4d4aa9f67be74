"""Changes of an article, each of which can be taken back: other pictures, other words.

Pure functions from article to article. What needs a repository or a model comes in as a finished value.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from xcomp_composer import manifest
from xcomp_composer.article import Article, Candidate, HistoryEntry, Illustration, Segment, Unfilled
from xcomp_composer.describe import described
from xcomp_composer.markdown import split
from xcomp_composer.marks import newline_of, with_blocks, without_blocks
from xcomp_protos.transport.errors import InvalidRequest

KEPT_CHANGES = 50
USER = "user"


def pick(article: Article, spot: int, candidate: int) -> Article:
    """Shows another candidate of a spot; an empty spot has candidates as well."""
    picture = _changeable(article, spot)
    offered = picture.candidates if picture else _unfilled(article, spot).candidates
    if candidate >= len(offered):
        raise InvalidRequest(f"candidate: spot {spot} has {len(offered)} of them, numbered from 0; {candidate} is none")
    query = picture.query if picture else _unfilled(article, spot).query
    shown = _picture(article, offered[candidate], query=query, candidates=offered, chosen_by=USER)
    return _shown(article, spot, shown, operation=f"pick candidate {candidate} for spot {spot}")


def found(article: Article, spot: int, query: str, candidates: Sequence[Candidate], *, chosen_by: str) -> Article:
    """Shows the first of the candidates that a query of the user's found."""
    _changeable(article, spot)
    if not candidates:
        raise InvalidRequest(f"query: nothing was found for {query!r}: ask for something else")
    shown = _picture(article, candidates[0], query=query, candidates=tuple(candidates), chosen_by=chosen_by)
    return _shown(article, spot, shown, operation=f"search {query!r} for spot {spot}")


def remove(article: Article, spot: int) -> Article:
    """Takes the picture after a segment away."""
    if not _changeable(article, spot):
        raise InvalidRequest(f"spot: there is no picture after segment {spot}")
    return _shown(article, spot, None, operation=f"remove the picture of spot {spot}")


def lock(article: Article, spot: int) -> Article:
    """Locks the picture after a segment, or unlocks it."""
    picture = _segment(article, spot).illustration
    if not picture:
        raise InvalidRequest(f"spot: there is no picture after segment {spot} to lock")
    verb = "unlock" if picture.locked else "lock"
    shown = replace(picture, locked=not picture.locked)
    return _shown(article, spot, shown, operation=f"{verb} the picture of spot {spot}")


def rewrite(article: Article, segment: int, text: str) -> Article:
    """Puts other words in the place of a segment's; its picture stays."""
    old = _segment(article, segment)
    ending = old.text[len(old.text.rstrip("\r\n \t")) :]
    pieces = _pieces(_words(text, article) + ending, article)
    pieces[-1] = replace(pieces[-1], illustration=old.illustration)
    return _replaced(article, segment, pieces, operation=f"rewrite segment {segment}")


def insert_before(article: Article, segment: int, text: str) -> Article:
    """Puts words before a segment."""
    old = _segment(article, segment)
    pieces = _pieces(_words(text, article) + 2 * newline_of(article.text), article)
    before = "".join(each.text for each in article.segments[:segment])
    pieces[0] = replace(pieces[0], text=_gap(before, article) + pieces[0].text)
    return _replaced(article, segment, [*pieces, old], operation=f"insert before segment {segment}")


def insert_after(article: Article, segment: int, text: str) -> Article:
    """Puts words after a segment and its picture."""
    old = _segment(article, segment)
    is_last = segment + 1 == len(article.segments)
    pieces = _pieces(_words(text, article) + newline_of(article.text) * (1 if is_last else 2), article)
    before = "".join(each.text for each in article.segments[: segment + 1])
    pieces[0] = replace(pieces[0], text=_gap(before, article) + pieces[0].text)
    return _replaced(article, segment, [old, *pieces], operation=f"insert after segment {segment}")


def undo(article: Article) -> Article:
    """Takes the last change back."""
    if not article.history:
        raise InvalidRequest("undo: no change is left to take back")
    try:
        before = json.loads(article.history[-1].before)
        at, count = int(before["at"]), int(before["count"])
        old = [manifest.segment_from_json(value) for value in before["segments"]]
        unfilled = [manifest.unfilled_from_json(value) for value in before["unfilled"]]
    except (ValueError, KeyError, TypeError):
        raise InvalidRequest("history: the last change cannot be read and so not be taken back") from None
    segments = (*article.segments[:at], *old, *article.segments[at + count :])
    return replace(article, segments=segments, unfilled=tuple(unfilled), history=article.history[:-1])


def _shown(article: Article, spot: int, picture: Illustration | None, *, operation: str) -> Article:
    changed = _replaced(article, spot, [replace(article.segments[spot], illustration=picture)], operation=operation)
    unfilled = tuple(each for each in changed.unfilled if each.segment != spot)
    changed = replace(changed, unfilled=unfilled)
    if without_blocks(with_blocks(changed), changed.format)[0] != changed.text:
        raise InvalidRequest(f"spot: no picture can stand after segment {spot}: its code block is never closed")
    return changed


def _replaced(article: Article, segment: int, pieces: Sequence[Segment], *, operation: str) -> Article:
    """Puts segments in the place of one, moves the numbers of later spots, and notes what was there."""
    grown = len(pieces) - 1
    before = {
        "at": segment,
        "count": len(pieces),
        "segments": manifest.entries_to_json([article.segments[segment]]),
        "unfilled": manifest.entries_to_json(article.unfilled),
    }
    entry = HistoryEntry(operation, json.dumps(before, ensure_ascii=False, separators=(",", ":")))
    offset = next((i for i, piece in enumerate(pieces) if piece is article.segments[segment]), grown)
    moved = tuple(_moved(each, segment, own=offset, later=grown) for each in article.unfilled)
    segments = (*article.segments[:segment], *pieces, *article.segments[segment + 1 :])
    return replace(article, segments=segments, unfilled=moved, history=(*article.history, entry)[-KEPT_CHANGES:])


def _moved(unfilled: Unfilled, segment: int, *, own: int, later: int) -> Unfilled:
    if unfilled.segment < segment:
        return unfilled
    return replace(unfilled, segment=unfilled.segment + (own if unfilled.segment == segment else later))


def _picture(
    article: Article, candidate: Candidate, *, query: str, candidates: tuple[Candidate, ...], chosen_by: str
) -> Illustration:
    picture = Illustration(
        image_id=candidate.image_id,
        repository=article.repository,
        path=candidate.path,
        query=query,
        probability=candidate.probability,
        chosen_by=chosen_by,
        candidates=candidates,
        reason=candidate.reason,
        width=candidate.width,
        height=candidate.height,
    )
    return described(picture, candidate, article.language)


def _changeable(article: Article, spot: int) -> Illustration | None:
    picture = _segment(article, spot).illustration
    if picture and picture.locked:
        raise InvalidRequest(f"spot: the picture after segment {spot} is locked: unlock it first with --lock")
    return picture


def _unfilled(article: Article, spot: int) -> Unfilled:
    for unfilled in article.unfilled:
        if unfilled.segment == spot:
            return unfilled
    raise InvalidRequest(f"spot: nothing was offered after segment {spot}: search for a picture instead")


def _segment(article: Article, number: int) -> Segment:
    if number >= len(article.segments):
        raise InvalidRequest(f"segment: the article has {len(article.segments)}, numbered from 0; {number} is none")
    return article.segments[number]


def _words(text: str, article: Article) -> str:
    words = text.strip("\r\n \t")
    if not words:
        raise InvalidRequest("text: is empty: give the new words")
    return re.sub(r"\r\n?|\n", newline_of(article.text), words)


def _pieces(text: str, article: Article) -> list[Segment]:
    return [Segment(block.text) for block in split(text, article.format)]


def _gap(before: str, article: Article) -> str:
    """The line ends that are missing for a blank line after the words before."""
    if not before.strip("\ufeff \t\r\n"):
        return ""
    ending = before[len(before.rstrip("\r\n \t")) :]
    missing = 2 - ending.count("\n")
    return newline_of(article.text) * max(missing, 0)
