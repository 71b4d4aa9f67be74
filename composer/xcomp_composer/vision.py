"""The illustrator of a model that sees: it names the places, describes the pictures wished for, and chooses.

Places and descriptions come first, one search answers all of them, then the choices are made in the order of the text,
each with the words before it and the pictures chosen so far in view. An answer that cannot be used leaves its spot
empty with the reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from xcomp_composer.alike import twins
from xcomp_composer.article import Candidate, Illustration, Unfilled
from xcomp_composer.caption import captioned
from xcomp_composer.consult import Consultation
from xcomp_composer.events import Spot, SpotCandidates, SpotIllustration, SpotQuery, StageEvent
from xcomp_composer.indexer import Hit, Repository
from xcomp_composer.passages import Passage, passages
from xcomp_composer.pictures import Pictures
from xcomp_composer.place import Plan, plan
from xcomp_composer.reason import short
from xcomp_composer.stage import Draft, Question, Selection, Wish
from xcomp_composer.trial import answered
from xcomp_composer.verdict import Witness, chosen
from xcomp_model.base import Picture, Section
from xcomp_protos.transport import telemetry
from xcomp_protos.transport.errors import Conflict, Denied, ImageError, ModelError, NotFound

SPARE = 4  # hits beyond those that are needed: pictures may have gone since they were indexed
DEEPEST = 100  # hits for a spot: the candidates, as many as earlier spots may have taken, and the spare ones


class Vision:
    """Places and chooses by a vision-language model."""

    def __init__(self, consultation: Consultation) -> None:
        self._model = consultation
        self.name = consultation.model.name

    def illustrate(self, draft: Draft, wish: Wish, repository: Repository) -> Iterator[StageEvent]:
        """Yields the places, then the descriptions, then choice after choice."""
        text = passages(draft.blocks)
        witness = Witness(self.name, self._model.model.prompts.version, draft.language)
        found = plan(self._model, [passage.text for passage in text], wish)
        yield from _spots(text, found, witness)
        queries: dict[int, str] = {}
        yield from self._queries(text, found.named, queries, witness)
        if not queries:
            return
        with telemetry.stage("retrieve"):
            hits = repository.search(list(queries.values()), k=min(wish.k + len(queries) - 1 + SPARE, DEEPEST))
            groups = twins((hit for each in hits for hit in each), repository)
        choosing = _Choosing(self._model, text, witness, repository, groups, wish.k)
        for (ordinal, query), each in zip(queries.items(), hits, strict=True):
            yield from choosing.choose(ordinal, query, each)

    def select(self, question: Question, repository: Repository) -> Selection:
        """Asks which candidate belongs after the context."""
        return answered(question, self._model, repository)

    def _queries(
        self, text: Sequence[Passage], named: Sequence[int], queries: dict[int, str], witness: Witness
    ) -> Iterator[StageEvent]:
        """Describes the pictures wished for; the descriptions go into `queries` as well, by passage."""
        sections = [passage.text for passage in text]
        for ordinal in named:
            try:
                query = self._query(sections, ordinal, list(queries.items()))
            except ModelError as error:
                yield Unfilled(text[ordinal].segment, "", str(error))
                continue
            if query:
                queries[ordinal] = query
                yield SpotQuery(text[ordinal].segment, query)
            else:
                yield Unfilled(text[ordinal].segment, "", witness.said("no query"))

    def _query(self, sections: Sequence[str], ordinal: int, earlier: Sequence[tuple[int, str]]) -> str:
        said = self._model.say(lambda prompts: prompts.query(sections, ordinal, earlier=earlier), "query")
        return short(" ".join(self._model.model.prompts.query_in(said).split()))


@dataclass
class _Choosing:
    """The choices of one article: what was shown stays in view, what was taken is offered no more."""

    model: Consultation
    text: Sequence[Passage]
    witness: Witness
    repository: Repository
    groups: dict[str, str]  # of pictures that count as one
    k: int
    shown: dict[int, Picture] = field(default_factory=dict)  # by passage
    taken: set[str] = field(default_factory=set)  # groups

    def __post_init__(self) -> None:
        self._pictures = Pictures(self.repository)

    def choose(self, ordinal: int, query: str, hits: Sequence[Hit]) -> Iterator[StageEvent]:
        """Yields the candidates, and the picture chosen or the reason for none."""
        segment = self.text[ordinal].segment
        free = [hit for hit in hits if self.groups[hit.image_id] not in self.taken]
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
            yield Unfilled(segment, query, str(failure), listed)

    def _chosen(self, ordinal: int, query: str, offered: Sequence[tuple[Hit, Picture]]) -> StageEvent:
        choice = self.model.choose(self._context(ordinal), [picture for _, picture in offered])
        judged = [self.witness.candidate(hit, query, choice, number) for number, (hit, _) in enumerate(offered)]
        ranked = tuple(sorted(judged, key=lambda candidate: -(candidate.probability or 0.0)))
        segment, best = self.text[ordinal].segment, chosen(choice)
        if best is None:
            return Unfilled(segment, query, self.witness.undecided(choice), ranked)
        hit, self.shown[ordinal] = offered[best]
        self.taken.add(self.groups[hit.image_id])
        picture = replace(self._illustration(judged[best]), query=query, candidates=ranked)
        return SpotIllustration(
            segment, captioned(picture, judged[best], self.witness.language, self.model, self.shown[ordinal])
        )

    def _context(self, ordinal: int) -> list[Section]:
        return [Section(passage.text, self.shown.get(at)) for at, passage in enumerate(self.text[: ordinal + 1])]

    def _readable(self, hits: Sequence[Hit]) -> tuple[list[tuple[Hit, Picture]], Exception | None]:
        """Returns the first k pictures that can be had, no two of them alike, and why the last other one could not."""
        offered: dict[str, tuple[Hit, Picture]] = {}
        error: Exception | None = None
        for hit in hits:
            group = self.groups[hit.image_id]
            if len(offered) == self.k or group in offered:
                continue
            try:
                offered[group] = hit, self._pictures.of(hit.image_id)
            except (NotFound, Conflict, Denied, ImageError) as reason:  # gone or changed since it was indexed
                error = reason
        return list(offered.values()), error

    def _illustration(self, candidate: Candidate) -> Illustration:
        return Illustration(
            image_id=candidate.image_id,
            repository=self.repository.conditions.repository,
            path=candidate.path,
            probability=candidate.probability,
            chosen_by=self.witness.model,
            reason=candidate.reason,
            width=candidate.width,
            height=candidate.height,
        )


def _spots(text: Sequence[Passage], found: Plan, witness: Witness) -> Iterator[StageEvent]:
    key = "few places" if found.named else "no place"
    reason = witness.said(key, named=len(found.named), count=len(found.named) + len(found.missing))
    for ordinal in sorted((*found.named, *found.missing)):
        yield Spot(text[ordinal].segment, float(ordinal in found.named))
    for ordinal in found.missing:
        yield Unfilled(text[ordinal].segment, "", reason)
