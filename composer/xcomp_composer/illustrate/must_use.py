"""Places the images that a request requires: each once, where it fits best.

The scores of the repository say where that is, with every illustrator; the rest of the text is illustrated around them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xcomp_composer.article.captions import with_metadata_caption
from xcomp_composer.article.edit_images import USER
from xcomp_composer.article.events import Spot, SpotIllustration, SpotQuery, StageEvent
from xcomp_composer.article.model import Illustration
from xcomp_composer.illustrate.base import IllustrationOptions, IllustrationTask
from xcomp_composer.illustrate.retrieval.assignment import assign
from xcomp_composer.illustrate.retrieval.reasons import explain_candidate
from xcomp_composer.illustrate.retrieval.scoring import HITS, ScoredCandidate, ScoredSpot, score_spots
from xcomp_composer.illustrate.wording import explain
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_protos.errors import InvalidRequest, NotFound


@dataclass(frozen=True)
class _Placement:
    spot: ScoredSpot
    candidate: ScoredCandidate


def place_required_images(
    task: IllustrationTask, options: IllustrationOptions, repository: RepositoryClient
) -> Iterator[StageEvent]:
    """Yields a spot for each required image, with its illustration, in the order of the text.

    Raises:
        InvalidRequest: there are more of them than images wanted, or than spots.
        NotFound: one is not in the repository, or the request may not see it.
    """
    ids = tuple(dict.fromkeys(options.must_use))
    if not ids:
        return
    paragraphs = {number: task.blocks[number].prose for number in task.open_spots()}
    _check_counts(ids, len(paragraphs), options)
    known = {hit.image_id for hit in repository.get_images(ids)}
    for image_id in ids:
        if image_id not in known:
            raise NotFound(f"must_use_ids: there is no image {image_id!r} in {repository.conditions.repository!r}")
    spots = score_spots(paragraphs, task.language, repository.only(ids), depth=max(HITS, len(ids))).spots
    for placement in _place(spots):
        yield from _report(placement, task.language, repository.conditions.repository)


def _check_counts(ids: Sequence[str], count: int, options: IllustrationOptions) -> None:
    if len(ids) > count:
        raise InvalidRequest(f"must_use_ids: too many, {len(ids)}: the text has places for {count}")
    for bound, name in ((options.images, "images"), (options.max_images, "max_images")):
        if bound is not None and len(ids) > bound:
            raise InvalidRequest(f"must_use_ids: too many, {len(ids)}: options.{name} allows {bound}")


def _place(spots: Sequence[ScoredSpot]) -> list[_Placement]:
    """Gives every image a spot, so that the sum of scores is the largest; all values are above 0, so none is left."""
    scores = [candidate.score for spot in spots for candidate in spot.candidates]
    low, width = min(scores), max(max(scores) - min(scores), 1e-9)
    values = [
        {candidate.hit.image_id: 1 + (candidate.score - low) / width for candidate in spot.candidates} for spot in spots
    ]
    return [
        _Placement(spot, next(candidate for candidate in spot.candidates if candidate.hit.image_id == image_id))
        for spot, image_id in zip(spots, assign(values), strict=True)
        if image_id
    ]


def _report(placement: _Placement, language: str, repository: str) -> Iterator[StageEvent]:
    scored, segment = placement.candidate, placement.spot.segment
    reason = explain("required", language, why=explain_candidate(scored, language))
    candidate = scored.hit.to_candidate(round(scored.score, 4), reason=reason)
    illustration = Illustration(
        image_id=candidate.image_id,
        repository=repository,
        path=candidate.path,
        query=scored.query,
        chosen_by=USER,
        candidates=(candidate,),
        reason=candidate.reason,
        width=candidate.width,
        height=candidate.height,
        content_hash=candidate.content_hash,
    )
    yield Spot(segment, round(placement.spot.visibility, 4))
    yield SpotQuery(segment, scored.query)
    yield SpotIllustration(segment, with_metadata_caption(illustration, candidate, language))
