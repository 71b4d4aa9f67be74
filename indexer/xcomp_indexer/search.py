"""Answers queries over a repository: embed, route by language, search each space, fuse, say how sure.

A batch of queries costs one forward pass per space and one call of the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from xcomp_indexer import background, language
from xcomp_indexer.calibrate import Calibration
from xcomp_indexer.embed import Vectors
from xcomp_indexer.library import Library
from xcomp_indexer.offer import is_offered, now, offered
from xcomp_indexer.query import Query, Vector, embedded, language_of
from xcomp_indexer.ranking import Hit, collapsed, fused, spread
from xcomp_indexer.repository import Repository
from xcomp_indexer.scales import Scales
from xcomp_indexer.store import And, Filter, Found, Ids, Near, Not, Store
from xcomp_indexer.texts import Gone, Texts, nobody_leaves
from xcomp_protos.transport import telemetry
from xcomp_protos.transport.errors import InvalidRequest

Route = Literal["auto", "en", "zh", "all"]
_BACKGROUND = {"en": background.ENGLISH, "zh": background.CHINESE}
POOL = 100  # candidates per space before fusion and diversity, at least
FURTHEST = 4096  # candidates that are looked at when near copies are folded
SPARE = 4  # hits asked for beyond the limit, in the place of those that may not be offered


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


@dataclass(frozen=True)
class Answer:
    """What one query found, best first."""

    language: language.Language
    spaces: Sequence[str]
    hits: Sequence[Hit]
    background: tuple[float, float] | None  # median and ninth decile of the background's standouts
    best_confidence: float = 0.0  # of whatever was found, too little or not


@dataclass(frozen=True)
class _Asked:
    """A query on its way: the spaces that answer, and its vector in each."""

    vectors: Mapping[str, Vector]
    scales: Mapping[str, Calibration]


class Search:
    """Searches the repositories of a library."""

    def __init__(self, library: Library) -> None:
        self.texts = Texts()
        self._library = library
        self._background: dict[str, Vectors] = {}  # by digest of the embedder
        self._scales = Scales(self._background_vectors)

    def answer(self, repository: Repository, question: Question, *, gone: Gone = nobody_leaves) -> list[Answer]:
        """Answers each query; `gone` tells whether anybody still waits for it.

        Raises:
            NotFound: an id that a query names is not there.
            InvalidRequest: a query's picture is none, or its parts cancel each other out.
            Cancelled, Exhausted: as `Texts.encode` has it.
        """
        languages = [language_of(query) for query in question.queries]
        routes = [self._spaces(repository, question, each) for each in languages]
        spaces = sorted({space for route in routes for space in route})
        vectors = {
            space: self._vectors(
                repository, space, {at: question.queries[at] for at, route in enumerate(routes) if space in route}, gone
            )
            for space in spaces
        }
        scales = {space: self._scales.of(repository, space) for space in spaces}
        asked = [
            _Asked({space: vectors[space][at] for space in route}, {space: scales[space] for space in route})
            for at, route in enumerate(routes)
        ]
        limit = max(POOL, 4 * question.k) if question.diversity or question.collapse else question.k
        ranked = _ranked(repository.store, asked, question, limit)
        return [
            _answer(repository, one, found, question, hits=hits, limit=limit)
            for one, found, hits in zip(asked, languages, ranked, strict=True)
        ]

    def spaces_for(self, repository: Repository, texts: Sequence[str]) -> list[str]:
        """Names the spaces that texts are routed to, by the language of all of them together."""
        return _able(repository, "auto", language.detect(" ".join(texts)))

    def prepare(self, repository: Repository, spaces: Sequence[str]) -> None:
        """Loads the models of spaces that are about to answer and calibrates them, so that no query waits for it."""
        for space in spaces:
            self._scales.of(repository, space)

    def recount(self, repository: Repository) -> None:
        """Takes note that a repository may have grown or shrunk."""
        self._scales.recount(repository)

    def forget(self, repository: Repository) -> None:
        """Drops the calibrations of a repository that changed."""
        self._scales.forget(repository)

    def _spaces(self, repository: Repository, question: Question, found: language.Language) -> list[str]:
        weights = question.space_weights
        names = [name for name in _able(repository, question.route, found) if weights.get(name, 1.0)]
        if not names:
            raise InvalidRequest("space_weights: leave no space that answers: give one a weight above 0")
        return names

    def _vectors(
        self, repository: Repository, space: str, queries: Mapping[int, Query], gone: Gone
    ) -> dict[int, Vector]:
        embedder = self._library.embedder(repository, space)

        def encode(texts: Sequence[str]) -> Vectors:
            return self.texts.encode(embedder, texts, gone=gone)

        return embedded(queries, repository=repository, space=space, embedder=embedder, encode=encode)

    def _background_vectors(self, repository: Repository, space: str) -> Vectors:
        embedder = self._library.embedder(repository, space)
        if embedder.digest not in self._background:
            texts = [text for name, group in _BACKGROUND.items() if name in embedder.languages for text in group]
            self._background[embedder.digest] = self.texts.encode(embedder, texts)
        return self._background[embedder.digest]


def _able(repository: Repository, route: Route, found: language.Language) -> list[str]:
    """Chooses the spaces that understand the language; both where a text is mixed, all for pictures."""
    spaces = repository.spaces
    names = [space.name for space in spaces]
    wanted = found if route == "auto" else route
    if wanted in ("all", "mixed"):
        return names
    able = [space.name for space in spaces if wanted in space.languages]
    return able or names


def _ranked(store: Store, asked: Sequence[_Asked], question: Question, limit: int) -> list[list[Hit]]:
    """Returns the ranking of each query; they go to the store together."""
    nears = [
        Near(space, vector, limit=max(limit, POOL) if len(one.vectors) > 1 else limit, exact=question.exact)
        for one in asked
        for space, vector in one.vectors.items()
    ]
    with telemetry.stage("store"):
        found = iter(_found(store, nears, question))
    with telemetry.stage("fuse"):
        return [
            fused(
                one.scales,
                {space: (vector, next(found)) for space, vector in one.vectors.items()},
                weights=question.space_weights,
            )
            for one in asked
        ]


def _answer(
    repository: Repository, asked: _Asked, found: language.Language, question: Question, *, hits: list[Hit], limit: int
) -> Answer:
    """Chooses among the hits of a query what it is answered with."""
    best = max((hit.confidence for hit in hits), default=0.0)
    spaces = {space: repository.record.spaces[space].dimension for space in asked.vectors}
    chosen = _sure(hits, question)
    if question.collapse:
        chosen = collapsed(repository.store, chosen, spaces=spaces, alike=question.collapse)
        while len(chosen) < question.k and len(hits) >= limit and limit < FURTHEST:  # a burst of copies fills a pool
            limit *= 4
            (hits,) = _ranked(repository.store, [asked], question, limit)
            chosen = collapsed(repository.store, _sure(hits, question), spaces=spaces, alike=question.collapse)
    if question.diversity:
        space, width = next(iter(spaces.items()))
        chosen = spread(repository.store, chosen, space=space, width=width, diversity=question.diversity, k=question.k)
    known = [told for scale in asked.scales.values() if (told := scale.background)]
    return Answer(found, list(spaces), chosen[: question.k], max(known, default=None), best)


def _sure(hits: Sequence[Hit], question: Question) -> list[Hit]:
    return [hit for hit in hits if hit.confidence >= question.min_confidence]


def _found(store: Store, nears: Sequence[Near], question: Question) -> list[list[Found]]:
    """Searches for what may be shown.

    Images that may not be offered are few. So they are dropped from what was found, which costs nothing, and filtered
    by the store, which looks at every image then, only where too little is left.
    """
    condition = _condition(question)
    if question.allow_restricted:
        return store.near([replace(near, where=condition) for near in nears])
    moment = now()
    found = store.near([replace(near, where=condition, limit=near.limit + SPARE) for near in nears])
    kept = [[each for each in hits if is_offered(each.payload, moment)] for hits in found]
    short = [at for at, near in enumerate(nears) if len(kept[at]) < near.limit and len(kept[at]) < len(found[at])]
    if short:
        strict = And((condition, offered(moment))) if condition else offered(moment)
        for at, hits in zip(short, store.near([replace(nears[at], where=strict) for at in short]), strict=True):
            kept[at] = hits
    return [hits[: near.limit] for near, hits in zip(nears, kept, strict=True)]


def _condition(question: Question) -> Filter | None:
    parts: list[Filter] = [question.where] if question.where else []
    if question.exclude_ids:
        parts.append(Not(Ids(question.exclude_ids)))
    if question.only_ids:
        parts.append(Ids(question.only_ids))
    return And(tuple(parts)) if parts else None
