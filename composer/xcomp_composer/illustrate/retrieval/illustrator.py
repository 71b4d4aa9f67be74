"""The illustrator `retrieval`: no language model; the repository's own spaces place the pictures and choose them.

It prefers no picture to a wrong one: a spot is filled only where a picture fits clearly better than the pictures that
chance finds in the same repository.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from xcomp_composer.article.captions import with_metadata_caption
from xcomp_composer.article.events import Spot, SpotCandidates, SpotIllustration, SpotQuery, StageEvent
from xcomp_composer.article.model import Candidate, Evidence, Illustration, Unfilled
from xcomp_composer.document.blocks import Kind
from xcomp_composer.document.splitting import split_blocks
from xcomp_composer.illustrate.base import (
    CandidateImage,
    IllustrationOptions,
    IllustrationTask,
    Selection,
    SelectionRequest,
    places,
)
from xcomp_composer.illustrate.retrieval.assignment import NEIGHBOURS, assign, spread
from xcomp_composer.illustrate.retrieval.paragraphs import (
    most_visible,
)
from xcomp_composer.illustrate.retrieval.reasons import why, why_empty
from xcomp_composer.illustrate.retrieval.scoring import HITS, Floats, ScoredCandidate, ScoredSpot, places_for
from xcomp_composer.illustrate.similar_images import likeness
from xcomp_composer.indexer_client.hit import Hit
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.pool import NAME
from xcomp_protos.errors import InvalidRequest, NotFound, Unsupported
from xcomp_protos.telemetry import api

FIT = 3.0  # score from which a picture is better than none
VISIBLE = 0.2  # visibility from which a paragraph that stays empty is said to be a spot
MOST_PARAGRAPHS = 64  # of a longer text, the most visible ones are looked at; more if asked for, so many at once


@dataclass(frozen=True)
class _Plan:
    """Places in the order of the text, each with the offer it gets, if any."""

    places: tuple[ScoredSpot, ...]
    chosen: tuple[ScoredCandidate | None, ...]


class RetrievalIllustrator:
    """Places and chooses by the repository's own spaces."""

    name = NAME

    def illustrate(
        self, draft: IllustrationTask, wish: IllustrationOptions, repository: RepositoryClient
    ) -> Iterator[StageEvent]:
        """Decides about all spots together, then tells them in the order of the text."""
        numbers = [number for number in places(draft.blocks) if draft.is_open(number)]
        standing = repository.hits_of(draft.standing_ids)
        repository = repository.without([hit.image_id for hit in standing])
        paragraphs = {number: draft.blocks[number].prose for number in numbers}
        limit = wish.limit(len(numbers))
        most = MOST_PARAGRAPHS if wish.images is None else max(MOST_PARAGRAPHS, limit)
        if len(paragraphs) > most:
            with api.stage("spot"):
                paragraphs = most_visible(paragraphs, draft.language, repository, count=most)
        found = _in_parts(paragraphs, draft.language, repository)
        with api.stage("choose"):
            groups = _twins(found, standing, repository)
            taken = {groups.get(hit.image_id, hit.image_id) for hit in standing}
            plan = _plan(_without(found, taken, groups), places(draft.blocks), draft, limit=limit, twins=groups)
            spots = _spots(plan, count=limit, is_exact=wish.images is not None)
        for place, offer in _evident(spots, repository, wish.k):
            yield from _events(place, offer, draft.language, wish.k, repository.conditions.repository)

    def select(self, question: SelectionRequest, repository: RepositoryClient) -> Selection:
        """Weighs the candidates for the last paragraph of the context."""
        if question.procedure == "reference" or question.order or not question.has_pixels:
            raise Unsupported("procedure: retrieval has no letters and no released procedure: name a model that sees")
        candidates, blocks = question.candidates, split_blocks(question.context)
        words = [block.prose for block in blocks if block.kind is Kind.PARAGRAPH] or [question.context.strip()]
        keys = [offered.image_id or f"#{number}" for number, offered in enumerate(candidates)]
        pictures = _embedded(candidates, keys, repository)
        depth = max(HITS, len(candidates))
        ids = tuple(offered.image_id for offered in candidates if offered.image_id)
        some = replace(repository.conditions, only_ids=ids if not pictures else ())
        place = places_for(
            {0: words[-1]}, repository.conditions.language, repository.under(some), depth=depth, pictures=pictures,
            ids=ids if pictures else (),
        )[0]  # fmt: skip
        if pictures and not place.offers:
            raise NotFound(
                f"candidates: {repository.conditions.repository!r} has no picture to weigh them against: index some, "
                "or name a model that sees"
            )
        scores = {offer.hit.image_id: offer.score for offer in place.offers}
        for key in keys:
            if key not in scores:
                raise NotFound(f"candidates: there is no image {key!r} in {repository.conditions.repository!r}")
        return _selection([scores[key] for key in keys])

    def find(self, query: str, language: str, repository: RepositoryClient, *, k: int) -> tuple[Candidate, ...]:
        """Returns the best pictures for a query of the user's, best first, fitting or not."""
        ((place, _),) = _evident([(places_for({0: query}, language, repository)[0], None)], repository, k)
        return _candidates(place, None, language, k)


def _in_parts(paragraphs: Mapping[int, str], language: str, repository: RepositoryClient) -> list[ScoredSpot]:
    """Places of all paragraphs; the tables of texts and pictures in between take bounded memory."""
    numbers = list(paragraphs)
    parts = [numbers[start : start + MOST_PARAGRAPHS] for start in range(0, len(numbers), MOST_PARAGRAPHS)]
    return [
        place
        for part in parts
        for place in places_for({number: paragraphs[number] for number in part}, language, repository)
    ]


def _plan(
    found: Sequence[ScoredSpot],
    numbers: Sequence[int],
    draft: IllustrationTask,
    *,
    limit: int,
    twins: Mapping[str, str],
) -> _Plan:
    """Assigns pictures to all places, keeps the best of them, and assigns again among those."""
    ordinals = {number: ordinal for ordinal, number in enumerate(numbers)}
    beside = {ordinals.get(number, -2) + step for number in draft.standing for step in (-1, 1)}
    values = [_values(place, twins) for place in found]
    gains = [
        (offers[picture] if picture else 0.0) - (NEIGHBOURS if ordinals[place.segment] in beside else 0.0)
        for place, offers, picture in zip(found, values, assign(values), strict=True)
    ]
    kept = spread(gains, [ordinals[place.segment] for place in found], limit)
    pictures = dict(zip(kept, assign([values[index] for index in kept]), strict=True))
    return _Plan(
        tuple(found),
        tuple(_best_of(place, pictures.get(index), twins) for index, place in enumerate(found)),
    )


def _values(place: ScoredSpot, twins: Mapping[str, str]) -> dict[str, float]:
    """What each picture gains here over none; twins are one picture."""
    values: dict[str, float] = {}
    for offer in place.offers:
        group = twins.get(offer.hit.image_id, offer.hit.image_id)
        if offer.score > FIT and offer.is_clear:
            values[group] = max(values.get(group, 0.0), offer.score - FIT)
    return values


def _best_of(place: ScoredSpot, group: str | None, twins: Mapping[str, str]) -> ScoredCandidate | None:
    offers = (offer for offer in place.offers if twins.get(offer.hit.image_id, offer.hit.image_id) == group)
    return next(offers, None) if group else None


def _twins(found: Sequence[ScoredSpot], standing: Sequence[Hit], repository: RepositoryClient) -> Mapping[str, str]:
    """Gives pictures that are alike one name; a picture that cannot be chosen needs none."""
    offered = (offer.hit for place in found for offer in place.offers if offer.score > FIT)
    return likeness((*standing, *offered), repository).groups


def _without(found: Sequence[ScoredSpot], taken: Collection[str], groups: Mapping[str, str]) -> list[ScoredSpot]:
    """The places without pictures that stand already, in whatever copy."""
    return [
        replace(
            place,
            offers=tuple(
                each for each in place.offers if groups.get(each.hit.image_id, each.hit.image_id) not in taken
            ),
        )
        for place in found
    ]


def _evident(
    spots: Sequence[tuple[ScoredSpot, ScoredCandidate | None]], repository: RepositoryClient, k: int
) -> list[tuple[ScoredSpot, ScoredCandidate | None]]:
    """The same spots, with what every space says of the candidates to be shown, all of them for the spot's query."""
    best = [(offer or next(iter(place.offers), None), place) for place, offer in spots]
    asked = [offer.query if offer else "" for offer, _ in best]
    shown = [
        [place.found.get(query, {}).get(each.hit.image_id, each.hit) for each in _shown(place, offer, k)]
        for query, (place, offer) in zip(asked, spots, strict=True)
    ]
    told = repository.seen_by_all(asked, shown) if any(shown) else shown
    seen = [{hit.image_id: hit for hit in hits} for hits in told]

    def with_spaces(offer: ScoredCandidate, hits: Mapping[str, Hit]) -> ScoredCandidate:
        return replace(offer, hit=hits.get(offer.hit.image_id, offer.hit))

    return [
        (
            replace(place, offers=tuple(with_spaces(each, hits) for each in place.offers)),
            with_spaces(offer, hits) if offer else None,
        )
        for (place, offer), hits in zip(spots, seen, strict=True)
    ]


def _spots(plan: _Plan, *, count: int, is_exact: bool) -> list[tuple[ScoredSpot, ScoredCandidate | None]]:
    """The filled places, and as many of the empty ones as the count leaves room for, in the order of the text."""
    pairs = list(zip(plan.places, plan.chosen, strict=True))
    empty = [place for place, offer in pairs if not offer and (is_exact or place.visibility >= VISIBLE)]
    room = count - sum(offer is not None for offer in plan.chosen)
    wanted = sorted(empty, key=lambda place: (-place.visibility, place.segment))[: max(room, 0)]
    return [(place, offer) for place, offer in pairs if offer or place in wanted]


def _events(
    place: ScoredSpot, offer: ScoredCandidate | None, language: str, k: int, repository: str
) -> Iterator[StageEvent]:
    candidates = _candidates(place, offer, language, k)
    best = offer or next(iter(place.offers), None)
    query = best.query if best else place.query
    yield Spot(place.segment, round(place.visibility, 4))
    yield SpotQuery(place.segment, query)
    yield SpotCandidates(place.segment, candidates)
    if not offer:
        reason = why_empty(place, language, fit=FIT)
        yield Unfilled(place.segment, query, reason, candidates, _evidence(candidates))
        return
    shown = next(candidate for candidate in candidates if candidate.image_id == offer.hit.image_id)
    picture = Illustration(
        image_id=shown.image_id,
        repository=repository,
        path=shown.path,
        query=query,
        probability=shown.probability,
        chosen_by=NAME,
        candidates=candidates,
        reason=shown.reason,
        width=shown.width,
        height=shown.height,
        evidence=_evidence(candidates),
        content_hash=shown.content_hash,
    )
    yield SpotIllustration(place.segment, with_metadata_caption(picture, shown, language))


def _candidates(place: ScoredSpot, chosen: ScoredCandidate | None, language: str, k: int) -> tuple[Candidate, ...]:
    offers = _shown(place, chosen, k)
    selection = _selection([offer.score for offer in offers])
    return tuple(
        offer.hit.candidate(
            round(offer.score, 4), probability=round(share * selection.mass, 4), reason=why(offer, language)
        )
        for offer, share in zip(offers, selection.probabilities, strict=True)
    )


def _shown(place: ScoredSpot, chosen: ScoredCandidate | None, k: int) -> list[ScoredCandidate]:
    """The k best offers, best first; the chosen one is among them."""
    offers = list(place.offers[:k])
    if chosen and chosen not in offers:
        offers = [*offers[: k - 1], chosen]
    return offers


def _evidence(candidates: Sequence[Candidate]) -> Evidence:
    """No model was asked; what the candidates do not have of all probability fell on "none of them"."""
    return Evidence(mass=round(sum(candidate.probability or 0.0 for candidate in candidates), 4))


def _selection(scores: Sequence[float]) -> Selection:
    """Turns scores into probabilities against an option "none" that scores FIT."""
    if not scores:
        return Selection(None, (), 0.0)
    top = max(scores)
    shares = [math.exp(score - top) for score in scores]
    total = sum(shares)
    mass = total / (total + math.exp(min(FIT - top, 50.0)))
    choice = scores.index(top) if top > FIT else None
    return Selection(choice, tuple(share / total for share in shares), mass)


def _embedded(
    candidates: Sequence[CandidateImage], keys: Sequence[str], repository: RepositoryClient
) -> dict[str, Floats]:
    encoded = [(key, offered.image) for key, offered in zip(keys, candidates, strict=True) if not offered.image_id]
    if any(not image for _, image in encoded):
        raise InvalidRequest("candidates: one is empty: give it an image_id or an image")
    if not encoded:
        return {}
    vectors = repository.embed_images([image for _, image in encoded])
    return {key: vector for (key, _), vector in zip(encoded, vectors, strict=True)}
