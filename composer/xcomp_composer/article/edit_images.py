"""Changes of the images of an article; each can be undone.

Pure functions from article to article: results of a repository or a model are arguments.
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
    """Shows another candidate of a spot, which may be empty."""
    illustration = _get_unlocked(article, spot)
    old = illustration or _get_unfilled(article, spot)
    candidates = old.candidates
    if candidate >= len(candidates):
        raise InvalidRequest(
            f"candidate: spot {spot} has {len(candidates)} candidates, numbered from 0: there is no {candidate}"
        )
    _check_not_shown(article, candidates[candidate].image_id, spot, field="candidate")
    shown = _make_illustration(article, candidates[candidate], query=old.query, candidates=candidates, chosen_by=USER)
    return _set_illustration(article, spot, shown, operation=f"pick candidate {candidate} for spot {spot}")


def show_search_result(
    article: Article, spot: int, query: str, candidates: Sequence[Candidate], *, chosen_by: str
) -> Article:
    """Shows the first candidate that a search of the user found."""
    _get_unlocked(article, spot)
    if not candidates:
        raise InvalidRequest(f"query: nothing was found for {query!r}: search for something else")
    shown = _make_illustration(article, candidates[0], query=query, candidates=tuple(candidates), chosen_by=chosen_by)
    return _set_illustration(article, spot, shown, operation=f"search {query!r} for spot {spot}")


def remove(article: Article, spot: int) -> Article:
    """Removes the image after a segment."""
    _require_unlocked(article, spot)
    return _set_illustration(article, spot, None, operation=f"remove the image of spot {spot}")


def toggle_lock(article: Article, spot: int) -> Article:
    """Locks the image after a segment, or unlocks it if it is locked."""
    illustration = get_segment(article, spot).illustration
    if not illustration:
        raise InvalidRequest(f"spot: there is no image after segment {spot} to lock")
    verb = "unlock" if illustration.locked else "lock"
    shown = replace(illustration, locked=not illustration.locked)
    return _set_illustration(article, spot, shown, operation=f"{verb} the image of spot {spot}")


def show(article: Article, spot: int, candidate: Candidate) -> Article:
    """Shows an image that the user names; the candidates of the spot stay recorded."""
    illustration = _get_unlocked(article, spot)
    _check_not_shown(article, candidate.image_id, None, field="image_id")
    empty = next((each for each in article.unfilled if each.segment == spot), None)
    old = illustration or empty or Unfilled(spot)
    others = tuple(each for each in old.candidates if each.image_id != candidate.image_id)
    shown = _make_illustration(article, candidate, query=old.query, candidates=(candidate, *others), chosen_by=USER)
    return _set_illustration(article, spot, shown, operation=f"show {candidate.path.rpartition('/')[2]} at spot {spot}")


def recaption(article: Article, spot: int, *, caption: str | None, alt: str | None) -> Article:
    """Changes caption and alternative text of the image after a segment; None keeps one, an empty text removes it."""
    illustration = _require_unlocked(article, spot)
    if caption is None and alt is None:
        raise InvalidRequest("recaption: give a caption, an alt text, or both")
    shown = replace(
        illustration,
        caption=illustration.caption if caption is None else _check_caption(caption, "caption"),
        alt=illustration.alt if alt is None else _check_caption(alt, "alt"),
    )
    return _set_illustration(article, spot, shown, operation=f"caption the image of spot {spot}")


def _check_caption(text: str, field: str) -> str:
    """Returns a text of the user as it is printed; refuses one that would be cut."""
    if len(" ".join(text.split())) > MAX_CAPTION_CHARACTERS:
        raise InvalidRequest(f"{field}: longer than {MAX_CAPTION_CHARACTERS} characters: shorten it")
    return clean_line(text)


def exclude(article: Article, spot: int) -> Article:
    """Excludes the image after a segment from the article; the best candidate not shown elsewhere replaces it."""
    illustration = _require_unlocked(article, spot)
    excluded = (*article.exclude_ids, illustration.image_id)
    elsewhere = {other.image_id for number, other in article.illustrations if number != spot}
    others = tuple(each for each in illustration.candidates if each.image_id not in excluded)
    best = next((each for each in others if each.image_id not in elsewhere), None)
    shown = None
    if best:
        query, chosen_by = illustration.query, illustration.chosen_by
        shown = _make_illustration(article, best, query=query, candidates=others, chosen_by=chosen_by)
    after = _set_illustration(article, spot, shown, operation=f"exclude the image of spot {spot}")
    if not shown:
        empty = Unfilled(spot, illustration.query, "its image was excluded, and there is no other candidate", others)
        after = replace(after, unfilled=tuple(sorted((*after.unfilled, empty), key=lambda each: each.segment)))
    return replace(after, exclude_ids=excluded)


def fill(article: Article, illustrations: Mapping[int, Illustration], unfilled: Sequence[Unfilled]) -> Article:
    """Puts images after segments without one; `unfilled` are the spots that stay empty."""
    count = len(article.segments)
    low, high = min(illustrations, default=0), max(illustrations, default=0) + 1
    pieces = [
        replace(article.segments[number], illustration=illustrations.get(number, article.segments[number].illustration))
        for number in range(low, min(high, count))
    ]
    noun = "spot" if len(illustrations) == 1 else "spots"
    after = replace_segments(
        article, low, pieces, count=len(pieces), operation=f"fill {len(illustrations)} empty {noun}"
    )
    return replace(after, unfilled=tuple(unfilled))


def _set_illustration(article: Article, spot: int, illustration: Illustration | None, *, operation: str) -> Article:
    if illustration:
        check_is_element(article, spot)
    shown = replace_segments(
        article, spot, [replace(article.segments[spot], illustration=illustration)], operation=operation
    )
    shown = replace(shown, unfilled=tuple(each for each in shown.unfilled if each.segment != spot))
    if remove_image_blocks(insert_image_blocks(shown), shown.format)[0] != shown.text:
        raise InvalidRequest(f"spot: no image can stand after segment {spot}: its code block is never closed")
    return shown


def _make_illustration(
    article: Article, candidate: Candidate, *, query: str, candidates: tuple[Candidate, ...], chosen_by: str
) -> Illustration:
    illustration = Illustration(
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
    return with_metadata_caption(illustration, candidate, article.language)


def _get_unlocked(article: Article, spot: int) -> Illustration | None:
    illustration = get_segment(article, spot).illustration
    if illustration and illustration.locked:
        raise InvalidRequest(f"spot: the image after segment {spot} is locked: unlock it first with --lock")
    return illustration


def _require_unlocked(article: Article, spot: int) -> Illustration:
    if illustration := _get_unlocked(article, spot):
        return illustration
    raise InvalidRequest(f"spot: there is no image after segment {spot}")


def _check_not_shown(article: Article, image_id: str, spot: int | None, *, field: str) -> None:
    """Raises InvalidRequest where another spot shows the image: no image is shown twice."""
    for number, other in article.illustrations:
        if other.image_id == image_id and number != spot:
            raise InvalidRequest(f"{field}: this image stands after segment {number} already: remove it there first")


def _get_unfilled(article: Article, spot: int) -> Unfilled:
    for unfilled in article.unfilled:
        if unfilled.segment == spot:
            return unfilled
    raise InvalidRequest(f"spot: there are no candidates after segment {spot}: search for an image instead")
