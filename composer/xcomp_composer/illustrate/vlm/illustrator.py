"""The illustrator of a model that sees: it names the places, describes the pictures wished for, and chooses.

Places and descriptions come first, one search answers all of them, then the choices are made in the order of the text,
each with the words before it and the pictures chosen so far in view. An answer that cannot be used leaves its spot
empty with the reason.
"""

from collections.abc import Iterator, Mapping, Sequence

from xcomp_composer.article.events import Spot, StageEvent
from xcomp_composer.article.model import Unfilled
from xcomp_composer.illustrate.base import IllustrationOptions, IllustrationTask, Selection, SelectionRequest
from xcomp_composer.illustrate.similar_images import likeness
from xcomp_composer.illustrate.vlm.placement import (
    Passage,
    Plan,
    passages,
    plan,
)
from xcomp_composer.illustrate.vlm.queries import QueryWriter, found
from xcomp_composer.illustrate.vlm.reasons import ReasonWriter
from xcomp_composer.illustrate.vlm.select import answered
from xcomp_composer.illustrate.vlm.selection import CandidateSelector
from xcomp_composer.indexer_client.hit import Hit
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.session import ModelSession
from xcomp_protos.telemetry import api

SPARE = 4  # hits beyond those that are needed: pictures may have gone since they were indexed
DEEPEST = 100  # hits for a spot: the pool, as many as earlier spots may have taken, and the spare ones


class VlmIllustrator:
    """Places and chooses by a vision-language model."""

    def __init__(self, consultation: ModelSession) -> None:
        self._model = consultation
        self.name = consultation.model.name

    def illustrate(
        self, draft: IllustrationTask, wish: IllustrationOptions, repository: RepositoryClient
    ) -> Iterator[StageEvent]:
        """Yields the places, then the descriptions, then choice after choice."""
        text = passages(draft.blocks)
        ordinals = {passage.segment: ordinal for ordinal, passage in enumerate(text)}
        witness = ReasonWriter(self.name, self._model.model.prompts.version, draft.language, self._model.model.digest)
        places = self._plan(text, ordinals, draft, wish)
        yield from _spots(text, places, witness)
        known = {ordinals[segment]: query for segment, query in (draft.asked or {}).items() if segment in ordinals}
        wishes = QueryWriter(self._model, text, witness, repository.foreign)
        yield from wishes.ask(places.named, known)
        if wishes.queries:
            yield from self._choices(text, ordinals, draft, wish, repository, wishes.queries, witness)

    def select(self, question: SelectionRequest, repository: RepositoryClient) -> Selection:
        """Asks which candidate belongs after the context."""
        return answered(question, self._model, repository)

    def _plan(
        self, text: Sequence[Passage], ordinals: Mapping[int, int], draft: IllustrationTask, wish: IllustrationOptions
    ) -> Plan:
        """The places that are asked for, where they are, else those that the model names."""
        free = [ordinal for segment, ordinal in ordinals.items() if draft.is_open(segment)]
        if draft.asked is not None and wish.images is not None and wish.images >= len(free):
            return Plan(tuple(free))
        return plan(self._model, [passage.text for passage in text], wish, free=free)

    def _choices(
        self,
        text: Sequence[Passage],
        ordinals: Mapping[int, int],
        draft: IllustrationTask,
        wish: IllustrationOptions,
        repository: RepositoryClient,
        queries: Mapping[int, str],
        witness: ReasonWriter,
    ) -> Iterator[StageEvent]:
        with api.stage("retrieve"):
            standing = repository.hits_of(draft.standing_ids)
            hits = _searched(queries, [hit.image_id for hit in standing], wish, repository)
            alike = likeness((hit for each in (standing, *hits) for hit in each), repository)
        choosing = CandidateSelector(self._model, text, witness, repository, alike, wish.k)
        for segment, picture in draft.standing.items():
            choosing.stands(ordinals.get(segment, -1), picture.image_id)
        for (ordinal, query), each in zip(queries.items(), hits, strict=True):
            yield from choosing.choose(ordinal, query, each)


def _searched(
    queries: Mapping[int, str], standing: Sequence[str], wish: IllustrationOptions, repository: RepositoryClient
) -> list[list[Hit]]:
    """One search for all places, without the pictures that stand already."""
    return found(
        list(queries.values()), repository.without(standing), k=min(wish.depth + len(queries) - 1 + SPARE, DEEPEST)
    )


def _spots(text: Sequence[Passage], found: Plan, witness: ReasonWriter) -> Iterator[StageEvent]:
    key = "few places" if found.named else "no place"
    reason = witness.said(key, named=len(found.named), count=len(found.named) + len(found.missing))
    for ordinal in sorted((*found.named, *found.missing)):
        yield Spot(text[ordinal].segment, float(ordinal in found.named))
    for ordinal in found.missing:
        yield Unfilled(text[ordinal].segment, "", reason)
