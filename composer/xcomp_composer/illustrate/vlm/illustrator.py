"""The illustrator of a model that sees: the model names the spots, describes the wanted images, and chooses.

Spots and descriptions come first, one search answers all descriptions, then the choices follow in the order of the
text; for each, the model sees the text before it and the images chosen so far. An answer that cannot be used leaves its
spot empty with the reason.
"""

from collections.abc import Iterator, Mapping, Sequence

from xcomp_composer.article.events import Spot, StageEvent
from xcomp_composer.article.model import Unfilled
from xcomp_composer.illustrate.base import IllustrationOptions, IllustrationTask, Selection, SelectionRequest
from xcomp_composer.illustrate.similar_images import group_similar
from xcomp_composer.illustrate.vlm.placement import Passage, SpotPlan, plan_spots, split_passages
from xcomp_composer.illustrate.vlm.queries import QueryWriter, search_queries
from xcomp_composer.illustrate.vlm.select import select
from xcomp_composer.illustrate.vlm.selection import CandidateSelector, explain_answer
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.session import ModelSession
from xcomp_protos.telemetry import api

SPARE = 4  # hits beyond those that are needed: images may have been removed since they were indexed
MAX_DEPTH = 100  # hits of a spot: the pool, as many as earlier spots may have taken, and the spare ones


class VlmIllustrator:
    """Places and chooses images by a vision-language model."""

    def __init__(self, session: ModelSession) -> None:
        self._session = session
        self.name = session.model.name

    def illustrate(
        self, task: IllustrationTask, options: IllustrationOptions, repository: RepositoryClient
    ) -> Iterator[StageEvent]:
        """Yields the spots, then the descriptions, then choice after choice."""
        passages = split_passages(task.blocks)
        indices = {passage.segment: index for index, passage in enumerate(passages)}
        plan = self._plan(passages, indices, task, options)
        yield from self._report_spots(passages, plan, task.language)
        known = {indices[segment]: query for segment, query in (task.queries or {}).items() if segment in indices}
        writer = QueryWriter(self._session, passages, task.language, repository.foreign)
        yield from writer.write(plan.named, known)
        if not writer.queries:
            return
        with api.stage("retrieve"):
            existing = repository.get_images(task.existing_ids)
            ids = [image.image_id for image in existing]
            k = min(options.depth + len(writer.queries) - 1 + SPARE, MAX_DEPTH)
            result = search_queries(list(writer.queries.values()), repository.excluding(ids), k=k, compare_ids=ids)
            images = (hit for hits in (existing, *result.hits) for hit in hits)
            groups = group_similar(images, result.pairs, repository)
        selector = CandidateSelector(self._session, passages, task.language, repository, groups, options.k)
        for segment, image in task.existing.items():
            selector.add_existing(indices.get(segment, -1), image.image_id)
        for (index, query), hits in zip(writer.queries.items(), result.hits, strict=True):
            yield from selector.choose(index, query, hits)

    def select(self, request: SelectionRequest, repository: RepositoryClient) -> Selection:
        """Asks which candidate belongs after the context."""
        return select(request, self._session, repository)

    def _plan(
        self,
        passages: Sequence[Passage],
        indices: Mapping[int, int],
        task: IllustrationTask,
        options: IllustrationOptions,
    ) -> SpotPlan:
        """Returns the spots of the task if it names them, else those that the model names."""
        free = [index for segment, index in indices.items() if task.is_open(segment)]
        if task.queries is not None and options.images is not None and options.images >= len(free):
            return SpotPlan(tuple(free))
        return plan_spots(self._session, [passage.text for passage in passages], options, free=free)

    def _report_spots(self, passages: Sequence[Passage], plan: SpotPlan, language: str) -> Iterator[StageEvent]:
        key, count = "few_places" if plan.named else "no_place", len(plan.named) + len(plan.missing)
        reason = explain_answer(self._session, language, key, named=len(plan.named), count=count)
        for index in sorted((*plan.named, *plan.missing)):
            yield Spot(passages[index].segment, float(index in plan.named))
        for index in plan.missing:
            yield Unfilled(passages[index].segment, "", reason)
