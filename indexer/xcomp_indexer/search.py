"""Answers queries over a repository: embed, route by language, search each space, fuse, say how sure.

A batch of queries costs one forward pass per space and one call of the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, cast

import numpy as np

from xcomp_indexer import background, language
from xcomp_indexer.calibrate import Calibration
from xcomp_indexer.embed import Vectors
from xcomp_indexer.fusion import diversify, reciprocal_rank
from xcomp_indexer.library import Library, Repository
from xcomp_indexer.offer import is_offered, offered
from xcomp_indexer.query import Query, Vector, embedded, language_of
from xcomp_indexer.scales import Scales
from xcomp_indexer.store import And, Filter, Found, Ids, Near, Not, Store
from xcomp_indexer.texts import Gone, Texts, nobody_leaves
from xcomp_protos.transport import telemetry

Route = Literal["auto", "en", "zh", "all"]
_BACKGROUND = {"en": background.ENGLISH, "zh": background.CHINESE}
POOL = 100  # candidates per space before fusion and diversity, at least
SPARE = 8  # hits asked for beyond the limit, in the place of those that may not be offered


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


@dataclass(frozen=True)
class SpaceScore:
    """What one space says of a hit."""

    rank: int
    score: float
    standout: float


@dataclass(frozen=True)
class Hit:
    """An image found."""

    found: Found
    score: float
    spaces: Mapping[str, SpaceScore]
    standout: float
    confidence: float


@dataclass(frozen=True)
class Answer:
    """What one query found, best first."""

    language: language.Language
    spaces: Sequence[str]
    hits: Sequence[Hit]
    background: tuple[float, float] | None  # median and ninth decile of the background's standouts


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
        routes = [self._spaces(repository, question.route, each) for each in languages]
        spaces = sorted({space for route in routes for space in route})
        vectors = {
            space: self._vectors(
                repository, space, {at: question.queries[at] for at, route in enumerate(routes) if space in route}, gone
            )
            for space in spaces
        }
        limit = question.k if not question.diversity else max(POOL, 4 * question.k)
        nears = [
            Near(space, vectors[space][at], limit=max(limit, POOL) if len(route) > 1 else limit)
            for at, route in enumerate(routes)
            for space in route
        ]
        with telemetry.stage("store"):
            found = iter(_found(repository.store, nears, question))
        scales = {space: self._scales.of(repository, space) for space in spaces}
        answers = []
        for at, route in enumerate(routes):
            of_query = {space: (vectors[space][at], next(found)) for space in route}
            with telemetry.stage("fuse"):
                hits = _diverse(repository, _fused(scales, of_query), question)
            known = [scale for space in route if (scale := scales[space].background())]
            answers.append(Answer(languages[at], route, hits, max(known, default=None)))
        return answers

    def spaces_for(self, repository: Repository, texts: Sequence[str]) -> list[str]:
        """Names the spaces that texts are routed to, by the language of all of them together."""
        return self._spaces(repository, "auto", language.detect(" ".join(texts)))

    def forget(self, repository: Repository) -> None:
        """Drops the calibrations of a repository that changed."""
        self._scales.forget(repository)

    def _spaces(self, repository: Repository, route: Route, found: language.Language) -> list[str]:
        """Chooses the spaces that understand the language; both where a text is mixed, all for pictures."""
        names = [spec.name for spec in repository.spaces]
        wanted = found if route == "auto" else route
        if wanted in ("all", "mixed"):
            return names
        able = [name for name in names if wanted in repository.models[name]["languages"]]  # type: ignore[operator]  # a list
        return able or names

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


def _found(store: Store, nears: Sequence[Near], question: Question) -> list[list[Found]]:
    """Searches for what may be shown.

    Images that may not be offered are few. So they are dropped from what was found, which costs nothing, and filtered
    by the store, which looks at every image then, only where too little is left.
    """
    condition = _condition(question)
    if question.allow_restricted:
        return store.near([replace(near, where=condition) for near in nears])
    now = datetime.now(UTC)
    found = store.near([replace(near, where=condition, limit=near.limit + SPARE) for near in nears])
    kept = [[each for each in hits if is_offered(each.payload, now)] for hits in found]
    short = [at for at, near in enumerate(nears) if len(kept[at]) < near.limit and len(kept[at]) < len(found[at])]
    strict = And((condition, offered(now))) if condition else offered(now)
    for at, hits in zip(short, store.near([replace(nears[at], where=strict) for at in short]), strict=True):
        kept[at] = hits
    return [hits[: near.limit] for near, hits in zip(nears, kept, strict=True)]


def _fused(scales: Mapping[str, Calibration], of_query: Mapping[str, tuple[Vector, list[Found]]]) -> list[Hit]:
    """Puts what the spaces found for one query into one ranking."""
    scores: dict[str, dict[str, SpaceScore]] = {}
    for space, (vector, found) in of_query.items():
        standouts = scales[space].standouts(vector, np.asarray([each.score for each in found], dtype=np.float64))
        for rank, (each, standout) in enumerate(zip(found, standouts, strict=True), start=1):
            scores.setdefault(each.id, {})[space] = SpaceScore(rank, each.score, float(standout))
    points = {each.id: each for _, found in of_query.values() for each in found}
    if len(of_query) == 1:
        order = [(each.id, each.score) for _, found in of_query.values() for each in found]
    else:
        order = reciprocal_rank({space: [each.id for each in found] for space, (_, found) in of_query.items()})
    return [_hit(scales, points[id_], score, scores[id_]) for id_, score in order]


def _hit(scales: Mapping[str, Calibration], found: Found, score: float, spaces: Mapping[str, SpaceScore]) -> Hit:
    confidence = max(scales[name].confidence(each.standout, each.score) for name, each in spaces.items())
    return Hit(found, score, spaces, max(each.standout for each in spaces.values()), confidence)


def _diverse(repository: Repository, hits: list[Hit], question: Question) -> list[Hit]:
    if not question.diversity or len(hits) < 2:
        return hits[: question.k]
    space = repository.spaces[0]
    nowhere = np.zeros(cast("int", repository.models[space.name]["dimension"]), dtype=np.float32)
    points = {point.id: point for point in repository.store.get([hit.found.id for hit in hits], vectors=True)}
    likeness = [
        points[hit.found.id].vectors.get(space.name, nowhere) if hit.found.id in points else nowhere for hit in hits
    ]
    # The worst score counts 0 and the best 1, so that relevance and likeness weigh the same in every space.
    scores = np.asarray([hit.score for hit in hits])
    relevance = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-9)
    order = diversify(relevance.tolist(), np.stack(likeness), diversity=question.diversity, k=question.k)
    return [hits[at] for at in order]


def _condition(question: Question) -> Filter | None:
    parts: list[Filter] = [question.where] if question.where else []
    if question.exclude_ids:
        parts.append(Not(Ids(question.exclude_ids)))
    if question.only_ids:
        parts.append(Ids(question.only_ids))
    return And(tuple(parts)) if parts else None
