"""Pictures that a request insists on: each is shown once, where it fits best, whatever else is chosen.

The repository's own spaces say where that is, with every illustrator; the rest is illustrated around them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from xcomp_composer.article.captions import with_metadata_caption
from xcomp_composer.article.edit_images import USER
from xcomp_composer.article.events import Spot, SpotIllustration, SpotQuery, StageEvent
from xcomp_composer.article.model import Illustration
from xcomp_composer.illustrate.base import (
    IllustrationOptions,
    IllustrationTask,
    places,
)
from xcomp_composer.illustrate.retrieval.assignment import assign
from xcomp_composer.illustrate.retrieval.reasons import asked_for
from xcomp_composer.illustrate.retrieval.scoring import HITS, ScoredCandidate, ScoredSpot, places_for
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_protos.errors import InvalidRequest, NotFound


@dataclass(frozen=True)
class _Placed:
    place: ScoredSpot
    offer: ScoredCandidate


def place_required_images(
    draft: IllustrationTask, wish: IllustrationOptions, repository: RepositoryClient
) -> Iterator[StageEvent]:
    """Yields a spot for each picture that must be shown, with its illustration, in the order of the text.

    Raises:
        InvalidRequest: there are more of them than pictures wanted, or than places.
        NotFound: one is not in the repository, or not for this request.
    """
    ids = tuple(dict.fromkeys(wish.must_use))
    if not ids:
        return
    paragraphs = {number: draft.blocks[number].prose for number in places(draft.blocks) if draft.is_open(number)}
    _check(ids, len(paragraphs), wish)
    known = {hit.image_id for hit in repository.hits_of(ids)}
    for image_id in ids:
        if image_id not in known:
            raise NotFound(f"must_use_ids: there is no image {image_id!r} in {repository.conditions.repository!r}")
    only = repository.under(replace(repository.conditions, only_ids=ids, exclude_ids=(), where=()))
    found = places_for(paragraphs, draft.language, only, depth=max(HITS, len(ids)))
    for placed in _placed(found):
        yield from _events(placed, draft.language, repository.conditions.repository)


def _check(ids: Sequence[str], count: int, wish: IllustrationOptions) -> None:
    if len(ids) > count:
        raise InvalidRequest(f"must_use_ids: too many, {len(ids)}: the text has places for {count}")
    for bound, name in ((wish.images, "images"), (wish.max_images, "max_images")):
        if bound is not None and len(ids) > bound:
            raise InvalidRequest(f"must_use_ids: too many, {len(ids)}: options.{name} allows {bound}")


def _placed(found: Sequence[ScoredSpot]) -> list[_Placed]:
    """Gives every picture a place, such that they fit best together; above 0 all values are, so none is left out."""
    scores = [offer.score for place in found for offer in place.offers]
    low, width = min(scores), max(max(scores) - min(scores), 1e-9)
    values = [
        {offer.hit.image_id: 1 + (offer.score - low) / width for offer in place.offers} if place.offers else {}
        for place in found
    ]
    pairs = zip(found, assign(values), strict=True)
    return [
        _Placed(place, next(offer for offer in place.offers if offer.hit.image_id == image_id))
        for place, image_id in pairs
        if image_id
    ]


def _events(placed: _Placed, language: str, repository: str) -> Iterator[StageEvent]:
    offer, segment = placed.offer, placed.place.segment
    candidate = offer.hit.candidate(round(offer.score, 4), reason=asked_for(offer, language))
    picture = Illustration(
        image_id=candidate.image_id,
        repository=repository,
        path=candidate.path,
        query=offer.query,
        chosen_by=USER,
        candidates=(candidate,),
        reason=candidate.reason,
        width=candidate.width,
        height=candidate.height,
        content_hash=candidate.content_hash,
    )
    yield Spot(segment, round(placed.place.visibility, 4))
    yield SpotQuery(segment, offer.query)
    yield SpotIllustration(segment, with_metadata_caption(picture, candidate, language))
