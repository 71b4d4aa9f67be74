"""The choices of one article: what was shown stays in view, what was taken is offered no more.

Each choice sees the words before its place and the pictures chosen so far; close ones are asked about a second time, as
far as the article's allowance of tokens goes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from xcomp_composer.article.events import SpotCandidates, SpotIllustration, StageEvent
from xcomp_composer.article.model import Candidate, Illustration, Unfilled
from xcomp_composer.illustrate.similar_images import SimilarityGroups
from xcomp_composer.illustrate.vlm.captions import captioned
from xcomp_composer.illustrate.vlm.images import CandidateImages
from xcomp_composer.illustrate.vlm.placement import (
    Passage,
)
from xcomp_composer.illustrate.vlm.reasons import ReasonWriter, chosen
from xcomp_composer.indexer_client.hit import Hit
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.session import ModelSession
from xcomp_model.base import Choice, ImagePart, Section
from xcomp_model.selection import Allowance
from xcomp_protos.errors import Conflict, Denied, ImageError, ModelError, NotFound

GONE = (NotFound, Conflict, Denied, ImageError)  # a picture that left, or changed since it was indexed


@dataclass
class CandidateSelector:
    """Chooses for place after place, in the order of the text."""

    model: ModelSession
    text: Sequence[Passage]
    witness: ReasonWriter
    repository: RepositoryClient
    likeness: SimilarityGroups
    k: int
    shown: dict[int, ImagePart] = field(default_factory=dict)  # by passage
    taken: set[str] = field(default_factory=set)  # groups

    def __post_init__(self) -> None:
        self._pictures = CandidateImages(self.repository)
        self._allowance = Allowance()

    def stands(self, ordinal: int, image_id: str) -> None:
        """Notes a picture that stands already; one that is gone is not in view."""
        self.taken.add(self.likeness.group(image_id))
        try:
            self.shown[ordinal] = self._pictures.of(image_id)
        except GONE:
            return

    def choose(self, ordinal: int, query: str, hits: Sequence[Hit]) -> Iterator[StageEvent]:
        """Yields the candidates, and the picture chosen or the reason for none."""
        segment = self.text[ordinal].segment
        free = [hit for hit in hits if self.likeness.group(hit.image_id) not in self.taken]
        offered, error = self._readable(free)
        if not offered:
            key = "unreadable" if free else "taken" if hits else "nothing"
            yield Unfilled(segment, query, self.witness.said(key, error=str(error)))
            return
        listed = tuple(hit.candidate(round(hit.score, 4)) for hit, _ in offered)
        yield SpotCandidates(segment, listed)
        try:
            yield self._chosen(ordinal, query, offered)
        except ModelError as failure:
            yield Unfilled(segment, query, str(failure), listed, interrupted=True)

    def _chosen(self, ordinal: int, query: str, offered: Sequence[tuple[Hit, ImagePart]]) -> StageEvent:
        choice = self.model.choose(self._context(ordinal), [picture for _, picture in offered], self._allowance)
        judged = [self.witness.candidate(hit, query, choice, number) for number, (hit, _) in enumerate(offered)]
        ranked = tuple(sorted(judged, key=lambda candidate: -(candidate.probability or 0.0)))
        segment, best = self.text[ordinal].segment, chosen(choice)
        evidence = self.witness.evidence(choice)
        if best is None:
            return Unfilled(segment, query, self.witness.undecided(choice), ranked, evidence)
        hit, self.shown[ordinal] = offered[best]
        self.taken.add(self.likeness.group(hit.image_id))
        picture = replace(self._illustration(judged[best], choice), query=query, candidates=ranked)
        return SpotIllustration(
            segment, captioned(picture, judged[best], self.witness.language, self.model, self.shown[ordinal])
        )

    def _context(self, ordinal: int) -> list[Section]:
        return [Section(passage.text, self.shown.get(at)) for at, passage in enumerate(self.text[: ordinal + 1])]

    def _readable(self, hits: Sequence[Hit]) -> tuple[list[tuple[Hit, ImagePart]], Exception | None]:
        """Returns the first k pictures that can be had, no two of them alike, and why the last other one could not."""
        offered: dict[str, tuple[Hit, ImagePart]] = {}
        error: Exception | None = None
        for hit in self.likeness.diverse(hits):
            group = self.likeness.group(hit.image_id)
            if len(offered) == self.k:
                break
            if group in offered:
                continue
            try:
                offered[group] = hit, self._pictures.of(hit.image_id)
            except GONE as reason:
                error = reason
        return list(offered.values()), error

    def _illustration(self, candidate: Candidate, choice: Choice) -> Illustration:
        return Illustration(
            image_id=candidate.image_id,
            repository=self.repository.conditions.repository,
            path=candidate.path,
            probability=candidate.probability,
            chosen_by=self.witness.model,
            reason=candidate.reason,
            width=candidate.width,
            height=candidate.height,
            evidence=self.witness.evidence(choice),
            content_hash=candidate.content_hash,
        )
