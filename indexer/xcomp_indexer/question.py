"""What a search is asked: a batch of queries and the conditions they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from xcomp_indexer.query import Query
from xcomp_indexer.store import And, Filter, Ids, Not

Route = Literal["auto", "en", "zh", "all"]
POOL = 100  # candidates per space before fusion and diversity, at least


@dataclass(frozen=True)
class Question:
    """A batch of queries under the same conditions."""

    queries: Sequence[Query]
    k: int
    route: Route = "auto"
    where: Filter | None = None
    exclude_ids: frozenset[str] = frozenset()
    only_ids: frozenset[str] = frozenset()
    diversity: float = 0.0
    allow_restricted: bool = False
    collapse: float = 0.0  # cosine from which on two hits are one picture; 0: never
    min_confidence: float = 0.0
    space_weights: Mapping[str, float] = field(default_factory=dict)  # 1 if unnamed; 0 leaves a space out
    exact: bool = False  # compare with every vector, whatever index there is

    @property
    def limit(self) -> int:
        """Hits that are ranked, of which the answer is chosen."""
        return max(POOL, 4 * self.k) if self.diversity or self.collapse else self.k

    @property
    def condition(self) -> Filter | None:
        """What an image must fulfil, beside that it may be offered."""
        parts: list[Filter] = [self.where] if self.where else []
        if self.exclude_ids:
            parts.append(Not(Ids(self.exclude_ids)))
        if self.only_ids:
            parts.append(Ids(self.only_ids))
        return And(tuple(parts)) if parts else None

    @property
    def single_text(self) -> str | None:
        """The text of which the question consists, if that is all and no slow search is asked for; else None."""
        if len(self.queries) != 1 or len(self.queries[0]) != 1 or self.exact:
            return None
        (part,) = self.queries[0]
        return part.text if part.weight == 1.0 else None
