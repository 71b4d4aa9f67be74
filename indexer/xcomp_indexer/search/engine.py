"""Answers queries over a repository: embed, route by language, search each space, fuse, say how sure.

A batch of queries costs one forward pass per space and one call of the store, and so do questions of a single text, the
usual ones, that come at the same time.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from weakref import WeakKeyDictionary

from xcomp_indexer.embed.base import Embedder, Vectors
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.search import background, language
from xcomp_indexer.search.batcher import Batcher, Gone, never_cancelled
from xcomp_indexer.search.calibration import Calibration
from xcomp_indexer.search.calibration_cache import CalibrationCache
from xcomp_indexer.search.comparison import SimilarPair, add_space_scores, find_similar_pairs
from xcomp_indexer.search.query import (
    Query,
    Route,
    SearchRequest,
    Vector,
    embedded,
    language_of,
)
from xcomp_indexer.search.ranking import RankedHit, collapse_near_duplicates, diversify_hits
from xcomp_indexer.search.retrieve import PreparedQuery, ranked
from xcomp_indexer.search.text_encoder import AT_ONCE, TextEncoder
from xcomp_protos.errors import InvalidRequest, NotFound

_BACKGROUND = {"en": background.ENGLISH, "zh": background.CHINESE}
FURTHEST = 4096  # candidates that are looked at when near copies are folded


@dataclass(frozen=True)
class QueryResult:
    """What one query found, best first."""

    language: language.Language
    spaces: Sequence[str]
    hits: Sequence[RankedHit]
    background: tuple[float, float] | None  # median and ninth decile of the background's standouts
    best_confidence: float = 0.0  # of whatever was found, too little or not
    vectors: Mapping[str, Vector] = field(default_factory=dict)  # of the query, by space that answered


@dataclass(frozen=True)
class _Single:
    """A question of a single text, to be answered by one space."""

    repository: Repository
    space: str
    question: SearchRequest
    scale: Calibration


_Ranked = tuple[PreparedQuery, list[RankedHit]]


class SearchEngine:
    """Searches the repositories of a library."""

    def __init__(self, library: RepositoryCatalog) -> None:
        self.texts = TextEncoder()
        self._library = library
        self._background: dict[str, Vectors] = {}  # by digest of the embedder
        self._scales = CalibrationCache(self._background_vectors)
        self._lock = threading.Lock()
        self._singles: WeakKeyDictionary[Repository, Batcher[_Single, _Ranked]] = WeakKeyDictionary()

    def answer(
        self, repository: Repository, question: SearchRequest, *, gone: Gone = never_cancelled
    ) -> list[QueryResult]:
        """Answers each query; `gone` tells whether anybody still waits for it.

        Raises:
            NotFound: an id that a query names, or a space that is weighed, is not there.
            InvalidRequest: a query's picture is none, or its parts cancel each other out.
            Cancelled, Exhausted: as `Texts.encode` has it.
        """
        languages = [language_of(query) for query in question.queries]
        routes = [self._spaces(repository, question, each) for each in languages]
        if question.single_text is not None and len(routes[0]) == 1:
            (space,) = routes[0]
            self._library.embedder(repository, space)  # by whoever asks, as the scale: one that loads a model or takes
            scale = self._scales.of(repository, space)  # a scale anew must not lead, and keep the others waiting
            single = _Single(repository, space, question, scale)
            found = [self._together(repository).result(single, kind=(space, id(scale)), gone=gone)]
        else:
            asked = self._asked(repository, question, routes, gone)
            found = list(zip(asked, ranked(repository.store, asked), strict=True))
        results = [
            _answer(repository, one, spoken, hits=hits) for spoken, (one, hits) in zip(languages, found, strict=True)
        ]
        return self._score_in_all_spaces(repository, question, results, gone) if question.all_spaces else results

    def compare(
        self, repository: Repository, question: SearchRequest, results: Sequence[QueryResult]
    ) -> list[SimilarPair]:
        """Finds the pairs of similar images among the hits of an answer and the images that the request names.

        Raises:
            Exhausted: as `find_similar_pairs` has it.
        """
        return find_similar_pairs(
            repository.store,
            {hit.found.id for result in results for hit in result.hits} | question.compare_ids,
            spaces=sorted({space for result in results for space in result.spaces}),
            minimum=question.min_similarity,
            allow_restricted=question.allow_restricted,
        )

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

    def _spaces(self, repository: Repository, question: SearchRequest, found: language.Language) -> list[str]:
        weights = question.space_weights
        held = [space.name for space in repository.held]
        if unknown := sorted(weights.keys() - {*held}):
            has = ", ".join(held)
            raise NotFound(f"space_weights: there is no space {unknown[0]!r} in {repository.name!r}: it has {has}")
        names = [name for name in _able(repository, question.route, found) if weights.get(name, 1.0)]
        if not names:
            raise InvalidRequest("space_weights: leave no space that answers: give one a weight above 0")
        return names

    def _asked(
        self, repository: Repository, question: SearchRequest, routes: Sequence[Sequence[str]], gone: Gone
    ) -> list[PreparedQuery]:
        encode = partial(self.texts.encode, gone=gone)
        spaces = sorted({space for route in routes for space in route})
        vectors = {
            space: self._vectors(
                repository,
                space,
                {at: question.queries[at] for at, route in enumerate(routes) if space in route},
                encode,
            )
            for space in spaces
        }
        scales = {space: self._scales.of(repository, space) for space in spaces}
        return [
            PreparedQuery(
                question,
                {space: vectors[space][at] for space in route},
                {space: scales[space] for space in route},
                question.limit,
            )
            for at, route in enumerate(routes)
        ]

    def _score_in_all_spaces(
        self, repository: Repository, question: SearchRequest, results: Sequence[QueryResult], gone: Gone
    ) -> list[QueryResult]:
        """Adds to the hits what the active spaces say that did not find them."""
        ids = dict.fromkeys(hit.found.id for result in results for hit in result.hits)
        points = {point.id: point for point in repository.store.get(list(ids), vectors=True)} if ids else {}
        scored = list(results)
        for space in [each.name for each in repository.spaces]:
            lacking = [at for at, each in enumerate(scored) if any(space not in hit.spaces for hit in each.hits)]
            vectors = {at: scored[at].vectors[space] for at in lacking if space in scored[at].vectors}
            queries = {at: question.queries[at] for at in lacking if at not in vectors}
            if queries:
                vectors |= self._vectors(repository, space, queries, partial(self.texts.encode, gone=gone))
            for at in lacking:
                scale, query = self._scales.of(repository, space), vectors[at]
                hits = add_space_scores(scored[at].hits, points, space=space, query=query, scale=scale)
                scored[at] = replace(scored[at], hits=hits)
        return scored

    def _together(self, repository: Repository) -> Batcher[_Single, _Ranked]:
        with self._lock:
            if repository not in self._singles:
                self._singles[repository] = Batcher(self._rank_singles, at_once=AT_ONCE)
            return self._singles[repository]

    def _rank_singles(self, singles: Sequence[_Single]) -> list[_Ranked]:
        """Ranks what questions of single texts find in one space of one repository, on one scale."""
        repository, space = singles[0].repository, singles[0].space
        queries = {at: single.question.queries[0] for at, single in enumerate(singles)}
        vectors = self._vectors(repository, space, queries, self.texts.encode_singles)
        scales = {space: singles[0].scale}
        asked = [
            PreparedQuery(single.question, {space: vectors[at]}, scales, single.question.limit)
            for at, single in enumerate(singles)
        ]
        return list(zip(asked, ranked(repository.store, asked), strict=True))

    def _vectors(
        self,
        repository: Repository,
        space: str,
        queries: Mapping[int, Query],
        encode: Callable[[Embedder, Sequence[str]], Vectors],
    ) -> dict[int, Vector]:
        embedder = self._library.embedder(repository, space)
        return embedded(
            queries, repository=repository, space=space, embedder=embedder, encode=partial(encode, embedder)
        )

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


def _answer(
    repository: Repository, asked: PreparedQuery, spoken: language.Language, *, hits: list[RankedHit]
) -> QueryResult:
    """Chooses among the hits of a query what it is answered with."""
    question = asked.question
    best = max((hit.confidence for hit in hits), default=0.0)
    spaces = {space: repository.record.spaces[space].dimension for space in asked.vectors}
    chosen = _sure(hits, question)
    if question.collapse:
        chosen = collapse_near_duplicates(repository.store, chosen, spaces=spaces, alike=question.collapse)
        while len(chosen) < question.k and len(hits) >= asked.limit and asked.limit < FURTHEST:
            asked = replace(asked, limit=4 * asked.limit)  # a burst of copies fills a pool
            (hits,) = ranked(repository.store, [asked])
            chosen = collapse_near_duplicates(
                repository.store, _sure(hits, question), spaces=spaces, alike=question.collapse
            )
    if question.diversity:
        space, width = next(iter(spaces.items()))
        chosen = diversify_hits(
            repository.store, chosen, space=space, width=width, diversity=question.diversity, k=question.k
        )
    known = [told for scale in asked.scales.values() if (told := scale.background)]
    return QueryResult(spoken, list(spaces), chosen[: question.k], max(known, default=None), best, asked.vectors)


def _sure(hits: Sequence[RankedHit], question: SearchRequest) -> list[RankedHit]:
    return [hit for hit in hits if hit.confidence >= question.min_confidence]
