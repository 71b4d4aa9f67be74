"""The choices of one article: an image that was shown stays in view, and is not a candidate again.

For each choice the model sees the text before the spot and the images chosen so far. It is asked about close choices a
second time, as far as the article's allowance of tokens permits. A candidate must be clearly more likely than chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from xcomp_composer.article.events import SpotCandidates, SpotIllustration, StageEvent
from xcomp_composer.article.model import Candidate, Evidence, Illustration, Unfilled
from xcomp_composer.illustrate.similar_images import SimilarityGroups
from xcomp_composer.illustrate.vlm.captions import with_model_caption
from xcomp_composer.illustrate.vlm.images import ImageCache
from xcomp_composer.illustrate.vlm.placement import Passage
from xcomp_composer.illustrate.wording import explain
from xcomp_composer.indexer_client.hit import Hit
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.session import ModelSession
from xcomp_model.base import Choice, ImagePart, Section
from xcomp_model.selection import Allowance
from xcomp_protos.errors import Conflict, Denied, ImageError, ModelError, NotFound

MARGIN = 0.1  # provisional, not fitted to choices of people: share of the way from chance to certainty
UNREADABLE = (NotFound, Conflict, Denied, ImageError)  # an image that is missing, changed, or not to be shown


@dataclass
class CandidateSelector:
    """Chooses for one spot after the other, in the order of the text.

    Attributes:
        language: of the article.
        k: candidates of each spot.
        shown: images in view, by passage.
        taken: groups of images that are shown already.
    """

    session: ModelSession
    passages: Sequence[Passage]
    language: str
    repository: RepositoryClient
    groups: SimilarityGroups
    k: int
    shown: dict[int, ImagePart] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._images = ImageCache(self.repository)
        self._allowance = Allowance()

    def add_existing(self, index: int, image_id: str) -> None:
        """Records an image that the article has already; the model does not see one that cannot be read."""
        self.taken.add(self.groups.group(image_id))
        try:
            self.shown[index] = self._images.get(image_id)
        except UNREADABLE:
            return

    def choose(self, index: int, query: str, hits: Sequence[Hit]) -> Iterator[StageEvent]:
        """Yields the candidates of a passage, and the chosen image or the reason for none."""
        segment = self.passages[index].segment
        free = [hit for hit in hits if self.groups.group(hit.image_id) not in self.taken]
        offered, error = self._read_images(free)
        if not offered:
            key = "unreadable" if free else "taken" if hits else "nothing"
            yield Unfilled(segment, query, explain(key, self.language, error=str(error)))
            return
        candidates = tuple(hit.to_candidate(round(hit.score, 4)) for hit, _ in offered)
        yield SpotCandidates(segment, candidates)
        try:
            yield self._ask(index, query, offered)
        except ModelError as failure:
            yield Unfilled(segment, query, str(failure), candidates, interrupted=True)

    def _ask(self, index: int, query: str, offered: Sequence[tuple[Hit, ImagePart]]) -> StageEvent:
        sections = [Section(passage.text, self.shown.get(at)) for at, passage in enumerate(self.passages[: index + 1])]
        choice = self.session.choose(sections, [image for _, image in offered], self._allowance)
        candidates = [self._to_candidate(hit, query, choice, number) for number, (hit, _) in enumerate(offered)]
        best_first = tuple(sorted(candidates, key=lambda candidate: -(candidate.probability or 0.0)))
        segment, best = self.passages[index].segment, pick_clear(choice)
        if best is None:
            reason = self._explain_undecided(choice)
            return Unfilled(segment, query, reason, best_first, self._evidence(choice))
        hit, self.shown[index] = offered[best]
        self.taken.add(self.groups.group(hit.image_id))
        illustration = replace(self._illustrate(candidates[best], choice), query=query, candidates=best_first)
        described = with_model_caption(
            illustration, candidates[best], self.language, session=self.session, image=self.shown[index]
        )
        return SpotIllustration(segment, described)

    def _read_images(self, hits: Sequence[Hit]) -> tuple[list[tuple[Hit, ImagePart]], Exception | None]:
        """Returns the first k images that can be read, one of each group, and why the last other one cannot."""
        offered: dict[str, tuple[Hit, ImagePart]] = {}
        error: Exception | None = None
        for hit in self.groups.diversify(hits):
            group = self.groups.group(hit.image_id)
            if len(offered) == self.k:
                break
            if group in offered:
                continue
            try:
                offered[group] = hit, self._images.get(hit.image_id)
            except UNREADABLE as reason:
                error = reason
        return list(offered.values()), error

    def _to_candidate(self, hit: Hit, query: str, choice: Choice, index: int) -> Candidate:
        count, share = len(choice.probabilities), choice.probabilities[index]
        key = "alone" if count == 1 else "chosen"
        reason = explain_answer(self.session, self.language, key, count=count, share=share, mass=choice.mass)
        found = explain("found", self.language, query=query, standout=hit.standout)
        return hit.to_candidate(round(hit.score, 4), probability=round(share, 4), reason=f"{reason}; {found}")

    def _explain_undecided(self, choice: Choice) -> str:
        count, share = len(choice.probabilities), max(choice.probabilities)
        return explain_answer(
            self.session, self.language, "undecided",
            count=count, share=share, needed=needed_probability(count), mass=choice.mass,
        )  # fmt: skip

    def _evidence(self, choice: Choice) -> Evidence:
        model = self.session.model
        return Evidence(model.prompts.version, model.digest, round(choice.mass, 4), choice.orders, choice.flipped)

    def _illustrate(self, candidate: Candidate, choice: Choice) -> Illustration:
        return Illustration(
            image_id=candidate.image_id,
            repository=self.repository.conditions.repository,
            path=candidate.path,
            probability=candidate.probability,
            chosen_by=self.session.model.name,
            reason=candidate.reason,
            width=candidate.width,
            height=candidate.height,
            evidence=self._evidence(choice),
            content_hash=candidate.content_hash,
        )


def explain_answer(session: ModelSession, language: str, key: str, **facts: str | float) -> str:
    """Returns the reason of this key, with the names of the model and of its prompts."""
    return explain(key, language, model=session.model.name, prompt=session.model.prompts.version, **facts)


def needed_probability(count: int) -> float:
    """Returns the probability from which on the best of this many candidates is chosen."""
    return 1 / count + MARGIN * (1 - 1 / count)


def pick_clear(choice: Choice) -> int | None:
    """Returns the index of the candidate that is clearly more likely than chance; None if there is none."""
    best = max(range(len(choice.probabilities)), key=choice.probabilities.__getitem__)
    return best if choice.probabilities[best] >= needed_probability(len(choice.probabilities)) else None
