"""Answers searches over a repository: routes queries to spaces by language, embeds, retrieves, ranks, calibrates.

A request with several queries takes one forward pass per space and one call of the store. Concurrent requests of a
single text, the usual ones, share both where they are for the same space of the same repository.
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
from xcomp_indexer.search.batcher import Batcher, IsCancelled, is_never_cancelled
from xcomp_indexer.search.calibration_cache import CalibrationCache
from xcomp_indexer.search.comparison import SimilarPair, add_space_scores, find_similar_pairs
from xcomp_indexer.search.query import Part, Route, SearchRequest, Vector, embed_queries, language_of
from xcomp_indexer.search.ranking import RankedHit, collapse_near_duplicates, diversify_hits
from xcomp_indexer.search.retrieve import PreparedQuery, rank
from xcomp_indexer.search.text_encoder import MAX_BATCH, TextEncoder
from xcomp_protos.errors import InvalidRequest, NotFound

MAX_CANDIDATES = 4096  # of a query when near-duplicates are collapsed

_Encode = Callable[[Embedder, Sequence[str]], Vectors]
_Job = tuple[Repository, PreparedQuery]  # a query of a single text; its vector is not there yet


@dataclass(frozen=True)
class QueryResult:
    """The answer to one query, best hit first."""

    language: language.Language
    spaces: Sequence[str]
    hits: Sequence[RankedHit]
    background: tuple[float, float] | None  # median and ninth decile of the background's standouts
    best_confidence: float = 0.0  # of the best hit, even if it was left out for its confidence
    vectors: Mapping[str, Vector] = field(default_factory=dict)  # of the query, by space that answered


class SearchEngine:
    """Searches the repositories of a catalog."""

    def __init__(self, catalog: RepositoryCatalog) -> None:
        self.texts = TextEncoder()
        self._catalog = catalog
        self._background: dict[str, Vectors] = {}  # by digest of the embedder
        self._calibrations = CalibrationCache(self._embed_background)
        self._lock = threading.Lock()
        self._batchers: WeakKeyDictionary[Repository, Batcher[_Job, tuple[PreparedQuery, list[RankedHit]]]]
        self._batchers = WeakKeyDictionary()

    def answer(
        self, repository: Repository, request: SearchRequest, *, is_cancelled: IsCancelled = is_never_cancelled
    ) -> list[QueryResult]:
        """Answer each query of a request.

        Raises:
            NotFound: an id that a query names, or a space that has a weight, does not exist.
            InvalidRequest: an image of a query cannot be read, or its parts cancel each other out.
            Cancelled, Exhausted: as for `TextEncoder.encode`.
        """
        languages = [language_of(query) for query in request.queries]
        routes = [self._choose_spaces(repository, request, each) for each in languages]
        encode = partial(self.texts.encode, is_cancelled=is_cancelled)
        if request.is_single_text and len(routes[0]) == 1:
            ranked = [self._rank_in_batch(repository, request, routes[0][0], is_cancelled)]
        else:
            prepared = self._prepare_queries(repository, request, routes, encode)
            ranked = list(zip(prepared, rank(repository.store, prepared), strict=True))
        results = [
            _choose_hits(repository, query, spoken, hits=hits)
            for spoken, (query, hits) in zip(languages, ranked, strict=True)
        ]
        return self._score_in_all_spaces(repository, request, results, encode) if request.all_spaces else results

    def compare(
        self, repository: Repository, request: SearchRequest, results: Sequence[QueryResult]
    ) -> list[SimilarPair]:
        """Find the pairs of similar images among the hits of an answer and the images that the request names.

        Raises:
            Exhausted: as for `find_similar_pairs`.
        """
        return find_similar_pairs(
            repository.store,
            {hit.found.id for result in results for hit in result.hits} | request.compare_ids,
            spaces=sorted({space for result in results for space in result.spaces}),
            minimum=request.min_similarity,
            allow_restricted=request.allow_restricted,
        )

    def spaces_for(self, repository: Repository, texts: Sequence[str]) -> list[str]:
        """Return the names of the spaces for the language of all texts together."""
        return _spaces_of_language(repository, "auto", language.detect(" ".join(texts)))

    def prepare(self, repository: Repository, spaces: Sequence[str]) -> None:
        """Load the models of spaces that are about to answer and calibrate them, so that no query waits for it."""
        for space in spaces:
            self._calibrations.get(repository, space)

    def recount(self, repository: Repository) -> None:
        """Note that a repository may have grown or shrunk."""
        self._calibrations.recount(repository)

    def forget(self, repository: Repository) -> None:
        """Drop the calibrations of a repository that changed."""
        self._calibrations.forget(repository)

    def _choose_spaces(self, repository: Repository, request: SearchRequest, spoken: language.Language) -> list[str]:
        weights = request.space_weights
        known = [space.name for space in repository.held]
        if unknown := sorted(weights.keys() - {*known}):
            has = ", ".join(known)
            raise NotFound(f"space_weights: there is no space {unknown[0]!r} in {repository.name!r}: it has {has}")
        names = [name for name in _spaces_of_language(repository, request.route, spoken) if weights.get(name, 1.0)]
        if not names:
            raise InvalidRequest("space_weights: no space is left that answers: give one a weight above 0")
        return names

    def _prepare_queries(
        self, repository: Repository, request: SearchRequest, routes: Sequence[Sequence[str]], encode: _Encode
    ) -> list[PreparedQuery]:
        spaces = sorted({space for route in routes for space in route})
        of_space = {space: {at: request.queries[at] for at, route in enumerate(routes) if space in route}
                    for space in spaces}  # fmt: skip
        vectors = {space: self._embed(repository, space, queries, encode) for space, queries in of_space.items()}
        calibrations = {space: self._calibrations.get(repository, space) for space in spaces}
        return [
            PreparedQuery(
                request,
                {space: vectors[space][at] for space in route},
                {space: calibrations[space] for space in route},
                request.limit,
            )
            for at, route in enumerate(routes)
        ]

    def _rank_in_batch(
        self, repository: Repository, request: SearchRequest, space: str, is_cancelled: IsCancelled
    ) -> tuple[PreparedQuery, list[RankedHit]]:
        """Rank the hits of a single text in one space, together with other requests for the same space."""
        self._catalog.embedder(repository, space)  # loaded and calibrated here: the leader of a batch must not do so
        calibration = self._calibrations.get(repository, space)  # while the others wait
        with self._lock:
            batcher = self._batchers.get(repository)
            if batcher is None:
                batcher = self._batchers[repository] = Batcher(self._rank_batch, max_batch=MAX_BATCH)
        job = (repository, PreparedQuery(request, {}, {space: calibration}, request.limit))
        return batcher.submit(job, kind=(space, id(calibration)), is_cancelled=is_cancelled)

    def _rank_batch(self, jobs: Sequence[_Job]) -> list[tuple[PreparedQuery, list[RankedHit]]]:
        """Rank the hits of several single texts, which are for one space of one repository."""
        repository, (space,) = jobs[0][0], jobs[0][1].calibrations
        queries = {at: query.request.queries[0] for at, (_, query) in enumerate(jobs)}
        vectors = self._embed(repository, space, queries, self.texts.encode_batch)
        prepared = [replace(query, vectors={space: vectors[at]}) for at, (_, query) in enumerate(jobs)]
        return list(zip(prepared, rank(repository.store, prepared), strict=True))

    def _score_in_all_spaces(
        self, repository: Repository, request: SearchRequest, results: Sequence[QueryResult], encode: _Encode
    ) -> list[QueryResult]:
        """Add to the hits the scores in the active spaces that did not find them."""
        ids = dict.fromkeys(hit.found.id for result in results for hit in result.hits)
        points = {point.id: point for point in repository.store.get(list(ids), vectors=True)} if ids else {}
        scored = list(results)
        for space in [each.name for each in repository.spaces]:
            lacking = [at for at, each in enumerate(scored) if any(space not in hit.spaces for hit in each.hits)]
            vectors = {at: scored[at].vectors[space] for at in lacking if space in scored[at].vectors}
            if queries := {at: request.queries[at] for at in lacking if at not in vectors}:
                vectors |= self._embed(repository, space, queries, encode)
            for at in lacking:
                calibration, query = self._calibrations.get(repository, space), vectors[at]
                hits = add_space_scores(scored[at].hits, points, space=space, query=query, calibration=calibration)
                scored[at] = replace(scored[at], hits=hits)
        return scored

    def _embed(
        self, repository: Repository, space: str, queries: Mapping[int, Sequence[Part]], encode: _Encode
    ) -> dict[int, Vector]:
        embedder = self._catalog.embedder(repository, space)
        return embed_queries(queries, repository, space=space, embedder=embedder, encode=encode)

    def _embed_background(self, repository: Repository, space: str) -> Vectors:
        embedder = self._catalog.embedder(repository, space)
        if embedder.digest not in self._background:
            self._background[embedder.digest] = self.texts.encode(embedder, background.texts(embedder.languages))
        return self._background[embedder.digest]


def _spaces_of_language(repository: Repository, route: Route, spoken: language.Language) -> list[str]:
    """Choose the spaces that understand the language; all of them for mixed texts and for images."""
    names = [space.name for space in repository.spaces]
    wanted = spoken if route == "auto" else route
    if wanted in ("all", "mixed"):
        return names
    return [space.name for space in repository.spaces if wanted in space.languages] or names


def _choose_hits(
    repository: Repository, query: PreparedQuery, spoken: language.Language, *, hits: list[RankedHit]
) -> QueryResult:
    """Choose the answer to a query among its ranked hits."""
    request, store = query.request, repository.store
    best = max((hit.confidence for hit in hits), default=0.0)
    spaces = {space: repository.record.spaces[space].dimension for space in query.vectors}
    chosen = _drop_unsure(hits, request)
    if request.collapse:
        chosen = collapse_near_duplicates(store, chosen, spaces=spaces, threshold=request.collapse)
        while len(chosen) < request.k and len(hits) >= query.limit and query.limit < MAX_CANDIDATES:
            query = replace(query, limit=4 * query.limit)  # a burst of near-duplicates can fill the candidates
            (hits,) = rank(store, [query])
            sure = _drop_unsure(hits, request)
            chosen = collapse_near_duplicates(store, sure, spaces=spaces, threshold=request.collapse)
    if request.diversity:
        space, dimension = next(iter(spaces.items()))
        chosen = diversify_hits(
            store, chosen, space=space, dimension=dimension, diversity=request.diversity, k=request.k
        )
    known = [each.background for each in query.calibrations.values() if each.background]
    return QueryResult(spoken, list(spaces), chosen[: request.k], max(known, default=None), best, query.vectors)


def _drop_unsure(hits: Sequence[RankedHit], request: SearchRequest) -> list[RankedHit]:
    return [hit for hit in hits if hit.confidence >= request.min_confidence]
