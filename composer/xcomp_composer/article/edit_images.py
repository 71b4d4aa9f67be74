"""Changes of the pictures of an article, each of which can be taken back.

Pure functions from article to article. What needs a repository or a model comes in as a finished value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from xcomp_composer.article.captions import MAX_CAPTION_CHARACTERS, clean_line, with_metadata_caption
from xcomp_composer.article.edit_text import check_is_element, get_segment
from xcomp_composer.article.history import replace_segments
from xcomp_composer.article.markers import insert_image_blocks, remove_image_blocks
from xcomp_composer.article.model import Article, Candidate, Illustration, Unfilled
from xcomp_protos.errors import InvalidRequest

USER = "user"


def pick(article: Article, spot: int, candidate: int) -> Article:
    """Shows another candidate of a spot; an empty spot has candidates as well."""
    picture = _get_unlocked(article, spot)
    offered = picture.candidates if picture else _get_unfilled(article, spot).candidates
    if candidate >= len(offered):
        raise InvalidRequest(f"candidate: spot {spot} has {len(offered)} of them, numbered from 0; {candidate} is none")
    _check_not_shown(article, offered[candidate].image_id, spot, field="candidate")
    query = picture.query if picture else _get_unfilled(article, spot).query
    shown = _make_illustration(article, offered[candidate], query=query, candidates=offered, chosen_by=USER)
    return _set_illustration(article, spot, shown, operation=f"pick candidate {candidate} for spot {spot}")


def show_search_result(
    article: Article, spot: int, query: str, candidates: Sequence[Candidate], *, chosen_by: str
) -> Article:
    """Shows the first of the candidates that a query of the user's found."""
    _get_unlocked(article, spot)
    if not candidates:
        raise InvalidRequest(f"query: nothing was found for {query!r}: ask for something else")
    shown = _make_illustration(article, candidates[0], query=query, candidates=tuple(candidates), chosen_by=chosen_by)
    return _set_illustration(article, spot, shown, operation=f"search {query!r} for spot {spot}")


def remove(article: Article, spot: int) -> Article:
    """Takes the picture after a segment away."""
    if not _get_unlocked(article, spot):
        raise InvalidRequest(f"spot: there is no picture after segment {spot}")
    return _set_illustration(article, spot, None, operation=f"remove the picture of spot {spot}")


def toggle_lock(article: Article, spot: int) -> Article:
    """Locks the picture after a segment, or unlocks it."""
    picture = get_segment(article, spot).illustration
    if not picture:
        raise InvalidRequest(f"spot: there is no picture after segment {spot} to lock")
    verb = "unlock" if picture.locked else "toggle_lock"
    shown = replace(picture, locked=not picture.locked)
    return _set_illustration(article, spot, shown, operation=f"{verb} the picture of spot {spot}")


def show(article: Article, spot: int, candidate: Candidate) -> Article:
    """Shows an image of the user's choice; what was offered stays on record."""
    picture = _get_unlocked(article, spot)
    _check_not_shown(article, candidate.image_id, None, field="image_id")
    empty = next((each for each in article.unfilled if each.segment == spot), None)
    offered = picture.candidates if picture else empty.candidates if empty else ()
    query = picture.query if picture else empty.query if empty else ""
    others = tuple(each for each in offered if each.image_id != candidate.image_id)
    shown = _make_illustration(article, candidate, query=query, candidates=(candidate, *others), chosen_by=USER)
    return _set_illustration(article, spot, shown, operation=f"show {candidate.path.rpartition('/')[2]} at spot {spot}")


def recaption(article: Article, spot: int, *, caption: str | None, alt: str | None) -> Article:
    """Prints other words about the picture after a segment; None leaves them, an empty text takes them away."""
    picture = _get_unlocked(article, spot)
    if not picture:
        raise InvalidRequest(f"spot: there is no picture after segment {spot}")
    if caption is None and alt is None:
        raise InvalidRequest("recaption: give a caption, an alt text, or both")
    words = {
        name: _check_caption(text, name) for name, text in (("caption", caption), ("alt", alt)) if text is not None
    }
    shown = replace(picture, caption=words.get("caption", picture.caption), alt=words.get("alt", picture.alt))
    return _set_illustration(article, spot, shown, operation=f"caption the picture of spot {spot}")


def _check_caption(text: str, field: str) -> str:
    """Returns a person's words as they are printed, none of them cut off."""
    if len(" ".join(text.split())) > MAX_CAPTION_CHARACTERS:
        raise InvalidRequest(f"{field}: is longer than {MAX_CAPTION_CHARACTERS} characters")
    return clean_line(text)


def exclude(article: Article, spot: int) -> Article:
    """Bans the picture after a segment from the article, and shows the next best that is not shown elsewhere."""
    picture = _get_unlocked(article, spot)
    if not picture:
        raise InvalidRequest(f"spot: there is no picture after segment {spot}")
    excluded = (*article.exclude_ids, picture.image_id)
    elsewhere = {other.image_id for number, other in article.illustrations if number != spot}
    left = tuple(each for each in picture.candidates if each.image_id not in excluded)
    following = next((each for each in left if each.image_id not in elsewhere), None)
    shown = None
    if following:
        chosen_by = picture.chosen_by
        shown = _make_illustration(article, following, query=picture.query, candidates=left, chosen_by=chosen_by)
    after = _set_illustration(article, spot, shown, operation=f"exclude the picture of spot {spot}")
    if not shown:
        empty = Unfilled(spot, picture.query, "its picture was excluded, and no other was offered", left)
        after = replace(after, unfilled=tuple(sorted((*after.unfilled, empty), key=lambda each: each.segment)))
    return replace(after, exclude_ids=excluded)


def fill(article: Article, pictures: Mapping[int, Illustration], unfilled: Sequence[Unfilled]) -> Article:
    """Puts pictures after segments that had none; the other empty spots stay empty, for the reasons given."""
    count = len(article.segments)
    low, high = min(pictures, default=0), max(pictures, default=0) + 1
    pieces = [
        replace(article.segments[number], illustration=pictures.get(number, article.segments[number].illustration))
        for number in range(low, min(high, count))
    ]
    noun = "spot" if len(pictures) == 1 else "spots"
    after = replace_segments(article, low, pieces, count=len(pieces), operation=f"fill {len(pictures)} empty {noun}")
    return replace(after, unfilled=tuple(unfilled))


def _set_illustration(article: Article, spot: int, picture: Illustration | None, *, operation: str) -> Article:
    if picture:
        check_is_element(article, spot)
    shown = replace_segments(
        article, spot, [replace(article.segments[spot], illustration=picture)], operation=operation
    )
    shown = replace(shown, unfilled=tuple(each for each in shown.unfilled if each.segment != spot))
    if remove_image_blocks(insert_image_blocks(shown), shown.format)[0] != shown.text:
        raise InvalidRequest(f"spot: no picture can stand after segment {spot}: its code block is never closed")
    return shown


def _make_illustration(
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
        content_hash=candidate.content_hash,
    )
    return with_metadata_caption(picture, candidate, article.language)


def _get_unlocked(article: Article, spot: int) -> Illustration | None:
    picture = get_segment(article, spot).illustration
    if picture and picture.locked:
        raise InvalidRequest(f"spot: the picture after segment {spot} is locked: unlock it first with --lock")
    return picture


def _check_not_shown(article: Article, image_id: str, spot: int | None, *, field: str) -> None:
    """No picture is shown twice."""
    for number, other in article.illustrations:
        if other.image_id == image_id and number != spot:
            raise InvalidRequest(f"{field}: this picture stands after segment {number} already: remove it there first")


def _get_unfilled(article: Article, spot: int) -> Unfilled:
    for unfilled in article.unfilled:
        if unfilled.segment == spot:
            return unfilled
    raise InvalidRequest(f"spot: nothing was offered after segment {spot}: search for a picture instead")
