"""What is searched for at each place, in a model's words: free text that its stop mark ends, bounded, never parsed.

Where no space of the repository understands the article's language, the model describes each picture once more in one
that is understood; a query then has two lines, the article's own first, and both are searched for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xcomp_composer.article.events import SpotQuery, StageEvent
from xcomp_composer.article.model import Unfilled
from xcomp_composer.illustrate.vlm.placement import (
    Passage,
)
from xcomp_composer.illustrate.vlm.reasons import ReasonWriter
from xcomp_composer.indexer_client.hit import Hit
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.session import ModelSession
from xcomp_protos.errors import ModelError


@dataclass
class QueryWriter:
    """The descriptions of an article, each with those before it in view."""

    model: ModelSession
    text: Sequence[Passage]
    witness: ReasonWriter
    foreign: str = ""  # language to ask in as well
    queries: dict[int, str] = field(default_factory=dict)  # by passage, as far as they were given

    def ask(self, places: Sequence[int], known: Mapping[int, str]) -> Iterator[StageEvent]:
        """Describes the pictures wished for at these passages, but for those that are known already."""
        sections = [passage.text for passage in self.text]
        for ordinal in places:
            segment = self.text[ordinal].segment
            try:
                query = known.get(ordinal, "") or self._described(sections, ordinal)
            except ModelError as error:
                yield Unfilled(segment, "", str(error), interrupted=True)
                continue
            if query:
                self.queries[ordinal] = query
                yield SpotQuery(segment, query)
            else:
                yield Unfilled(segment, "", self.witness.said("no query"))

    def _described(self, sections: Sequence[str], ordinal: int) -> str:
        own = self._said(sections, ordinal, "")  # the article's
        if not own or not self.foreign:
            return own
        return "\n".join(filter(None, (own, self._said(sections, ordinal, self.foreign))))

    def _said(self, sections: Sequence[str], ordinal: int, language: str) -> str:
        earlier = [(place, query.partition("\n")[0]) for place, query in self.queries.items()]
        said = self.model.say(
            lambda prompts: prompts.query(sections, ordinal, earlier=earlier, language=language), "query"
        )
        return " ".join(self.model.model.prompts.parse_query(said).split())


def found(queries: Sequence[str], repository: RepositoryClient, *, k: int) -> list[list[Hit]]:
    """Returns the k best pictures for each query, all asked in one search; what several lines find is one list."""
    lines = [query.split("\n") for query in queries]
    texts = [line for each in lines for line in each]
    hits = iter(repository.seen_by_all(texts, repository.search(texts, k=k)))
    return [_best([next(hits) for _ in each], k) for each in lines]


def _best(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """Joins lists of hits, best first by what stands out most; a single one stays as it is."""
    if len(lists) == 1:
        return list(lists[0])
    best: dict[str, Hit] = {}
    for hit in (hit for hits in lists for hit in hits):
        if hit.image_id not in best or hit.standout > best[hit.image_id].standout:
            best[hit.image_id] = hit
    return sorted(best.values(), key=lambda hit: (-hit.standout, hit.image_id))[:k]
