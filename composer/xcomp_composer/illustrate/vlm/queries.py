"""What is searched for at each spot, described by a model: free text up to its stop string, bounded, never parsed.

If no space of the repository understands the language of the article, the model describes each image once more in a
language that is understood. The query then has two lines, the first in the language of the article, and both are
searched for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xcomp_composer.article.events import SpotQuery, StageEvent
from xcomp_composer.article.model import Unfilled
from xcomp_composer.illustrate.similar_images import CLOSE
from xcomp_composer.illustrate.vlm.placement import Passage
from xcomp_composer.illustrate.vlm.selection import explain_answer
from xcomp_composer.indexer_client.hit import Hit, SearchResult
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_composer.model_pool.session import ModelSession
from xcomp_protos.errors import ModelError


@dataclass
class QueryWriter:
    """Writes the queries of an article, each after the model has seen those before it.

    Attributes:
        language: of the article.
        foreign: language in which to describe each image once more; empty: none.
        queries: by passage, those written so far.
    """

    session: ModelSession
    passages: Sequence[Passage]
    language: str
    foreign: str = ""
    queries: dict[int, str] = field(default_factory=dict)

    def write(self, spots: Sequence[int], known: Mapping[int, str]) -> Iterator[StageEvent]:
        """Describes an image for each of these passages, unless its query is known already."""
        sections = [passage.text for passage in self.passages]
        for index in spots:
            segment = self.passages[index].segment
            try:
                query = known.get(index, "") or self._describe(sections, index)
            except ModelError as error:
                yield Unfilled(segment, "", str(error), interrupted=True)
                continue
            if query:
                self.queries[index] = query
                yield SpotQuery(segment, query)
            else:
                yield Unfilled(segment, "", explain_answer(self.session, self.language, "no_query"))

    def _describe(self, sections: Sequence[str], index: int) -> str:
        own = self._ask(sections, index, "")
        if not own or not self.foreign:
            return own
        return "\n".join(filter(None, (own, self._ask(sections, index, self.foreign))))

    def _ask(self, sections: Sequence[str], index: int, language: str) -> str:
        earlier = [(other, query.partition("\n")[0]) for other, query in self.queries.items()]
        answer = self.session.say(
            lambda prompts: prompts.query(sections, index, earlier=earlier, language=language), "query"
        )
        return " ".join(self.session.model.prompts.parse_query(answer).split())


def search_queries(
    queries: Sequence[str], repository: RepositoryClient, *, k: int, compare_ids: Sequence[str]
) -> SearchResult:
    """Finds the k best images for each query in one search; the hits of several lines are joined to one list."""
    lines = [query.split("\n") for query in queries]
    texts = [line for each in lines for line in each]
    result = repository.search(texts, k=k, all_spaces=True, min_similarity=CLOSE, compare_ids=compare_ids)
    hits = iter(result.hits)
    return replace(result, hits=[_join([next(hits) for _ in each], k) for each in lines])


def _join(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """Joins lists of hits, the highest z-score first; a single list keeps its order."""
    if len(lists) == 1:
        return list(lists[0])
    best: dict[str, Hit] = {}
    for hit in (hit for hits in lists for hit in hits):
        if hit.image_id not in best or hit.standout > best[hit.image_id].standout:
            best[hit.image_id] = hit
    return sorted(best.values(), key=lambda hit: (-hit.standout, hit.image_id))[:k]
