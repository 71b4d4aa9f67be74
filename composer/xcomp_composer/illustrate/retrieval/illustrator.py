"""The illustrator `retrieval`: the scores of the repository's own spaces place the images and choose them.

It needs no language model. It prefers no image to a wrong one: it fills a spot only if an image fits clearly better
than the images that chance finds in the same repository.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from xcomp_composer.article.captions import with_metadata_caption
from xcomp_composer.article.events import Spot, SpotCandidates, SpotIllustration, SpotQuery, StageEvent
from xcomp_composer.article.model import Candidate, Evidence, Illustration, Unfilled
from xcomp_composer.document.blocks import Kind, find_spots
from xcomp_composer.document.splitting import split_blocks
from xcomp_composer.illustrate.base import (
    CandidateImage,
    IllustrationOptions,
    IllustrationTask,
    Selection,
    SelectionRequest,
)
from xcomp_composer.illustrate.retrieval.assignment import NEIGHBORS, assign, select_spots
from xcomp_composer.illustrate.retrieval.paragraphs import select_visible
from xcomp_composer.illustrate.retrieval.reasons import explain_candidate, explain_empty
from xcomp_composer.illustrate.retrieval.scoring import (
    HITS,
    Floats,
    ScoredCandidate,
    ScoredSpot,
    ScoredText,
    score_spots,
)
from xcomp_composer.illustrate.similar_images import SimilarityGroups, group_similar
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.pool import RETRIEVAL
from xcomp_protos.errors import InvalidRequest, NotFound, Unsupported
from xcomp_protos.telemetry import api

FIT = 3.0  # score from which on an image is better than none
VISIBLE = 0.2  # visibility from which on a paragraph that stays empty is reported as a spot
MAX_PARAGRAPHS = 64  # the most visible ones of a longer text; more if more images are wanted, this many at once

_Choice: TypeAlias = tuple[ScoredSpot, ScoredCandidate | None]  # a spot, and the image chosen for it


class RetrievalIllustrator:
    """Places and chooses images by the scores of the repository."""

    name = RETRIEVAL

    def illustrate(
        self, task: IllustrationTask, options: IllustrationOptions, repository: RepositoryClient
    ) -> Iterator[StageEvent]:
        """Decides about all spots together, then reports them in the order of the text."""
        existing = repository.get_images(task.existing_ids)
        ids = [image.image_id for image in existing]
        repository = repository.excluding(ids)
        paragraphs = {number: task.blocks[number].prose for number in task.open_spots()}
        limit = options.limit(len(paragraphs))
        most = MAX_PARAGRAPHS if options.images is None else max(MAX_PARAGRAPHS, limit)
        if len(paragraphs) > most:
            with api.stage("spot"):
                paragraphs = select_visible(paragraphs, task.language, repository, count=most)
        text = _score_in_parts(paragraphs, task.language, repository, compare_ids=ids)
        with api.stage("choose"):
            fitting = [each.hit for spot in text.spots for each in spot.candidates if each.score > FIT]
            groups = group_similar((*existing, *fitting), text.pairs, repository)
            spots = _remove_groups(text.spots, {groups.group(image_id) for image_id in ids}, groups)
            choices = _choose(spots, task, limit, groups)
            reported = _select_reported(choices, count=limit, is_exact=options.images is not None)
        for spot, chosen in _with_space_scores(reported, repository, options.k):
            yield from _report(spot, chosen, task.language, options.k, repository.conditions.repository)

    def select(self, request: SelectionRequest, repository: RepositoryClient) -> Selection:
        """Scores the candidates for the last paragraph of the context."""
        if request.procedure == "reference" or request.order or not request.has_pixels:
            raise Unsupported("procedure: retrieval has no letters and no released procedure: name a model that sees")
        candidates, blocks = request.candidates, split_blocks(request.context)
        paragraphs = [block.prose for block in blocks if block.kind is Kind.PARAGRAPH] or [request.context.strip()]
        keys = [candidate.image_id or f"#{number}" for number, candidate in enumerate(candidates)]
        uploads = _embed_uploads(candidates, keys, repository)
        ids = tuple(candidate.image_id for candidate in candidates if candidate.image_id)
        some = replace(repository.conditions, only_ids=() if uploads else ids)
        (spot,) = score_spots(
            {0: paragraphs[-1]}, repository.conditions.language, repository.with_conditions(some),
            depth=max(HITS, len(candidates)), uploads=uploads, ids=ids if uploads else (),
        ).spots  # fmt: skip
        if uploads and not spot.candidates:
            raise NotFound(
                f"candidates: {repository.conditions.repository!r} has no image to compare them with: index some, "
                "or name a model that sees"
            )
        scores = {each.hit.image_id: each.score for each in spot.candidates}
        for key in keys:
            if key not in scores:
                raise NotFound(f"candidates: there is no image {key!r} in {repository.conditions.repository!r}")
        return _to_selection([scores[key] for key in keys])

    def find(self, query: str, language: str, repository: RepositoryClient, *, k: int) -> tuple[Candidate, ...]:
        """Returns the best images for a query of the user, best first, whether they fit or not."""
        spots = score_spots({0: query}, language, repository).spots
        ((spot, _),) = _with_space_scores([(spots[0], None)], repository, k)
        return _to_candidates(spot, None, language, k)


def _score_in_parts(
    paragraphs: Mapping[int, str], language: str, repository: RepositoryClient, *, compare_ids: Sequence[str]
) -> ScoredText:
    """Scores all paragraphs, some at once: the matrices of texts and images take bounded memory."""
    numbers = list(paragraphs)
    parts = [
        score_spots({number: paragraphs[number] for number in part}, language, repository, compare_ids=compare_ids)
        for start in range(0, len(numbers), MAX_PARAGRAPHS)
        for part in [numbers[start : start + MAX_PARAGRAPHS]]
    ]
    return parts[0] if len(parts) == 1 else ScoredText([spot for part in parts for spot in part.spots], None)


def _remove_groups(spots: Sequence[ScoredSpot], removed: Collection[str], groups: SimilarityGroups) -> list[ScoredSpot]:
    return [
        replace(
            spot, candidates=tuple(each for each in spot.candidates if groups.group(each.hit.image_id) not in removed)
        )
        for spot in spots
    ]


def _choose(spots: Sequence[ScoredSpot], task: IllustrationTask, limit: int, groups: SimilarityGroups) -> list[_Choice]:
    """Assigns images to all spots, keeps the best spots, and assigns again among those."""
    positions = {segment: position for position, segment in enumerate(find_spots(task.blocks))}
    beside = {positions.get(segment, -2) + step for segment in task.existing for step in (-1, 1)}
    values = [_values(spot, groups) for spot in spots]
    gains = [
        (value[group] if group else 0.0) - (NEIGHBORS if positions[spot.segment] in beside else 0.0)
        for spot, value, group in zip(spots, values, assign(values), strict=True)
    ]
    kept = select_spots(gains, [positions[spot.segment] for spot in spots], limit)
    assigned = dict(zip(kept, assign([values[index] for index in kept]), strict=True))
    return [(spot, _best_of(spot, assigned.get(index), groups)) for index, spot in enumerate(spots)]


def _values(spot: ScoredSpot, groups: SimilarityGroups) -> dict[str, float]:
    """Returns what each group of images gains here over no image."""
    values: dict[str, float] = {}
    for candidate in spot.candidates:
        group = groups.group(candidate.hit.image_id)
        if candidate.score > FIT and candidate.is_clear:
            values[group] = max(values.get(group, 0.0), candidate.score - FIT)
    return values


def _best_of(spot: ScoredSpot, group: str | None, groups: SimilarityGroups) -> ScoredCandidate | None:
    return next((each for each in spot.candidates if group and groups.group(each.hit.image_id) == group), None)


def _select_reported(choices: Sequence[_Choice], *, count: int, is_exact: bool) -> list[_Choice]:
    """Returns the filled spots, and as many empty ones as the count allows, in the order of the text."""
    empty = [spot for spot, chosen in choices if not chosen and (is_exact or spot.visibility >= VISIBLE)]
    room = count - sum(chosen is not None for _, chosen in choices)
    most = {spot.segment for spot in sorted(empty, key=lambda spot: (-spot.visibility, spot.segment))[: max(room, 0)]}
    return [(spot, chosen) for spot, chosen in choices if chosen or spot.segment in most]


def _with_space_scores(choices: Sequence[_Choice], repository: RepositoryClient, k: int) -> list[_Choice]:
    """Returns the same choices; their shown candidates have the scores of every space for the query of the spot.

    Only the queries of the reported spots are embedded in further spaces, not all texts of the article.
    """
    queries = [(chosen or spot.candidates[0]).query if spot.candidates else "" for spot, chosen in choices]
    shown = {
        (query, each.hit.image_id): spot.hits.get(query, {}).get(each.hit.image_id, each.hit)
        for query, (spot, chosen) in zip(queries, choices, strict=True)
        for each in _shown(spot, chosen, k)
    }
    if any(len(hit.spaces) < len(repository.spaces) for hit in shown.values()):
        ids, texts = sorted({image_id for _, image_id in shown}), sorted({query for query, _ in shown})
        found = repository.only(ids).search(texts, k=len(ids), all_spaces=True).hits
        for query, hit in ((query, hit) for query, hits in zip(texts, found, strict=True) for hit in hits):
            if known := shown.get((query, hit.image_id)):
                shown[query, hit.image_id] = replace(known, spaces={**hit.spaces, **known.spaces})

    def with_spaces(query: str, candidate: ScoredCandidate) -> ScoredCandidate:
        return replace(candidate, hit=shown.get((query, candidate.hit.image_id), candidate.hit))

    return [
        (
            replace(spot, candidates=tuple(with_spaces(query, each) for each in spot.candidates)),
            with_spaces(query, chosen) if chosen else None,
        )
        for query, (spot, chosen) in zip(queries, choices, strict=True)
    ]


def _report(
    spot: ScoredSpot, chosen: ScoredCandidate | None, language: str, k: int, repository: str
) -> Iterator[StageEvent]:
    candidates = _to_candidates(spot, chosen, language, k)
    best = chosen or next(iter(spot.candidates), None)
    query = best.query if best else spot.query
    # No model was asked; what the candidates do not have of all probability fell on "none of them".
    evidence = Evidence(mass=round(sum(candidate.probability or 0.0 for candidate in candidates), 4))
    yield Spot(spot.segment, round(spot.visibility, 4))
    yield SpotQuery(spot.segment, query)
    yield SpotCandidates(spot.segment, candidates)
    if not chosen:
        yield Unfilled(spot.segment, query, explain_empty(spot, language, fit=FIT), candidates, evidence)
        return
    shown = next(candidate for candidate in candidates if candidate.image_id == chosen.hit.image_id)
    illustration = Illustration(
        image_id=shown.image_id,
        repository=repository,
        path=shown.path,
        query=query,
        probability=shown.probability,
        chosen_by=RETRIEVAL,
        candidates=candidates,
        reason=shown.reason,
        width=shown.width,
        height=shown.height,
        evidence=evidence,
        content_hash=shown.content_hash,
    )
    yield SpotIllustration(spot.segment, with_metadata_caption(illustration, shown, language))


def _to_candidates(spot: ScoredSpot, chosen: ScoredCandidate | None, language: str, k: int) -> tuple[Candidate, ...]:
    shown = _shown(spot, chosen, k)
    selection = _to_selection([each.score for each in shown])
    return tuple(
        each.hit.to_candidate(
            round(each.score, 4),
            probability=round(share * selection.mass, 4),
            reason=explain_candidate(each, language),
        )
        for each, share in zip(shown, selection.probabilities, strict=True)
    )


def _shown(spot: ScoredSpot, chosen: ScoredCandidate | None, k: int) -> list[ScoredCandidate]:
    """Returns the k best candidates, best first; the chosen one is among them."""
    best = list(spot.candidates[:k])
    return best if not chosen or chosen in best else [*best[: k - 1], chosen]


def _to_selection(scores: Sequence[float]) -> Selection:
    """Turns scores into probabilities against an option "none" that scores FIT."""
    if not scores:
        return Selection(None, (), 0.0)
    top = max(scores)
    shares = [math.exp(score - top) for score in scores]
    total = sum(shares)
    mass = total / (total + math.exp(min(FIT - top, 50.0)))
    choice = scores.index(top) if top > FIT else None
    return Selection(choice, tuple(share / total for share in shares), mass)


def _embed_uploads(
    candidates: Sequence[CandidateImage], keys: Sequence[str], repository: RepositoryClient
) -> dict[str, Floats]:
    encoded = [(key, each.image) for key, each in zip(keys, candidates, strict=True) if not each.image_id]
    if any(not image for _, image in encoded):
        raise InvalidRequest("candidates: one is empty: give it an image_id or an image")
    if not encoded:
        return {}
    vectors = repository.embed_images([image for _, image in encoded])
    return {key: vector for (key, _), vector in zip(encoded, vectors, strict=True)}
