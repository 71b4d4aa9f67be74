"""Answers queries over a repository: embed, route by language, search each space, fuse, say how sure.

A batch of queries costs one forward pass per space and one call of the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer import background, language
from xcomp_indexer.calibrate import Calibration, calibrate
from xcomp_indexer.decode import decode
from xcomp_indexer.embed import Embedder
from xcomp_indexer.fusion import diversify, reciprocal_rank
from xcomp_indexer.library import Library, Repository
from xcomp_indexer.store import And, Filter, Found, Ids, Match, Near, Not, Or, Range
from xcomp_indexer.store.payload import utc
from xcomp_protos.transport.errors import InvalidRequest, NotFound

Route = Literal["auto", "en", "zh", "all"]
_BACKGROUND = {"en": background.ENGLISH, "zh": background.CHINESE}
POOL = 100  # candidates per space before fusion and diversity, at least


@dataclass(frozen=True)
class Part:
    """One part of a query; exactly one of text, image and id is set."""

    text: str | None = None
    image: bytes | None = None
    id: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Question:
    """A batch of queries under the same conditions."""

    queries: Sequence[Sequence[Part]]
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


class Search:
    """Searches the repositories of a library; remembers their calibrations."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._background: dict[str, NDArray[np.float32]] = {}  # by digest of the embedder
        self._calibrations: dict[tuple[str, str], tuple[int, Calibration]] = {}  # (repository, space) -> (count, ..)

    def answer(self, repository: Repository, question: Question) -> list[Answer]:
        """Answers each query.

        Raises:
            NotFound: an id that a query names is not there.
            ImageError: a query's picture is none.
        """
        languages = [_language(query) for query in question.queries]
        routes = [self._spaces(repository, question.route, each) for each in languages]
        vectors = {
            space: self._vectors(repository, space, question.queries)
            for space in sorted({space for route in routes for space in route})
        }
        condition = _condition(question)
        limit = question.k if not question.diversity else max(POOL, 4 * question.k)
        nears = [
            Near(space, vectors[space][at], limit=max(limit, POOL) if len(route) > 1 else limit, where=condition)
            for at, route in enumerate(routes)
            for space in route
        ]
        found = iter(repository.store.near(nears))
        answers = []
        for at, route in enumerate(routes):
            of_query = {space: (vectors[space][at], next(found)) for space in route}
            hits = self._diverse(repository, self._fused(repository, of_query), question)
            answers.append(Answer(languages[at], route, hits))
        return answers

    def spaces_for(self, repository: Repository, texts: Sequence[str]) -> list[str]:
        """Names the spaces that texts are routed to, by the language of all of them together."""
        return self._spaces(repository, "auto", language.detect(" ".join(texts)))

    def forget(self, repository: str) -> None:
        """Drops the calibrations of a repository that changed."""
        for key in [key for key in self._calibrations if key[0] == repository]:
            del self._calibrations[key]

    def _spaces(self, repository: Repository, route: Route, found: language.Language) -> list[str]:
        """Chooses the spaces that understand the language; both where a text is mixed, all for pictures."""
        names = [spec.name for spec in repository.spaces]
        wanted = found if route == "auto" else route
        if wanted in ("all", "mixed"):
            return names
        able = [name for name in names if wanted in repository.models[name]["languages"]]  # type: ignore[operator]  # a list
        return able or names

    def _vectors(self, repository: Repository, space: str, queries: Sequence[Sequence[Part]]) -> NDArray[np.float32]:
        """Embeds all queries in one space, [Q, D]: parts times weight, added, of unit length."""
        embedder = self._library.embedder(repository, space)
        texts = list(dict.fromkeys(part.text for query in queries for part in query if part.text is not None))
        encoded = dict(zip(texts, embedder.encode_texts(texts), strict=True)) if texts else {}
        rows = []
        for query in queries:
            row = np.zeros(embedder.dimension, dtype=np.float32)
            for part in query:
                vector = encoded[part.text] if part.text is not None else _pictured(repository, space, embedder, part)
                row += part.weight * vector
            norm = float(np.linalg.norm(row))
            if norm < 1e-6:
                raise InvalidRequest("queries: the parts of a query cancel each other out: change their weights")
            rows.append(row / norm)
        return np.stack(rows)

    def _fused(
        self, repository: Repository, of_query: Mapping[str, tuple[NDArray[np.float32], list[Found]]]
    ) -> list[Hit]:
        scores: dict[str, dict[str, SpaceScore]] = {}
        for space, (vector, found) in of_query.items():
            scale = self._calibration(repository, space)
            standouts = scale.standouts(vector, np.asarray([each.score for each in found], dtype=np.float64))
            for rank, (each, standout) in enumerate(zip(found, standouts, strict=True), start=1):
                scores.setdefault(each.id, {})[space] = SpaceScore(rank, each.score, float(standout))
        points = {each.id: each for _, found in of_query.values() for each in found}
        if len(of_query) == 1:
            order = [(each.id, each.score) for _, found in of_query.values() for each in found]
        else:
            order = reciprocal_rank({space: [each.id for each in found] for space, (_, found) in of_query.items()})
        return [self._hit(repository, points[id_], score, scores[id_]) for id_, score in order]

    def _hit(self, repository: Repository, found: Found, score: float, spaces: Mapping[str, SpaceScore]) -> Hit:
        confidence = {
            name: self._calibration(repository, name).confidence(each.standout) for name, each in spaces.items()
        }
        return Hit(found, score, spaces, max(each.standout for each in spaces.values()), max(confidence.values()))

    def _diverse(self, repository: Repository, hits: list[Hit], question: Question) -> list[Hit]:
        if not question.diversity or len(hits) < 2:
            return hits[: question.k]
        space = repository.spaces[0].name
        points = repository.store.get([hit.found.id for hit in hits], vectors=True)
        likeness = np.stack([point.vectors[space] for point in points])
        # The worst score counts 0 and the best 1, so that relevance and likeness weigh the same in every space.
        scores = np.asarray([hit.score for hit in hits])
        relevance = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-9)
        order = diversify(relevance.tolist(), likeness, diversity=question.diversity, k=question.k)
        return [hits[at] for at in order]

    def _calibration(self, repository: Repository, space: str) -> Calibration:
        """Returns the scale of a space; it is taken anew when the repository grew or shrank by a tenth."""
        count = repository.store.count()
        before, scale = self._calibrations.get((repository.name, space), (-1, None))
        if scale is None or abs(count - before) > 0.1 * before:
            embedder = self._library.embedder(repository, space)
            if embedder.digest not in self._background:
                texts = [text for name, group in _BACKGROUND.items() if name in embedder.languages for text in group]
                self._background[embedder.digest] = embedder.encode_texts(texts)
            scale = calibrate(repository.store, space, self._background[embedder.digest])
            self._calibrations[repository.name, space] = (count, scale)
        return scale


def _language(query: Sequence[Part]) -> language.Language:
    text = " ".join(part.text for part in query if part.text)
    return language.detect(text) if text else "mixed"


def _pictured(repository: Repository, space: str, embedder: Embedder, part: Part) -> NDArray[np.float32]:
    if part.image is not None:
        picture = decode(part.image, image_size=embedder.image_size)
        vectors: NDArray[np.float32] = embedder.encode_images([picture.image]).vectors
        return np.asarray(vectors[0])
    stored = repository.store.get([str(part.id)], vectors=True)
    if not stored:
        raise NotFound(f"there is no image {part.id!r} in repository {repository.name!r}")
    return stored[0].vectors[space]


def _condition(question: Question) -> Filter | None:
    parts: list[Filter] = [question.where] if question.where else []
    if not question.allow_restricted:
        parts.append(offered())
    if question.exclude_ids:
        parts.append(Not(Ids(question.exclude_ids)))
    if question.only_ids:
        parts.append(Ids(question.only_ids))
    return And(tuple(parts)) if parts else None


def offered(now: datetime | None = None) -> Filter:
    """The images that may be offered: not internal, not expired, not under embargo."""
    moment = utc(now or datetime.now(UTC))
    return Not(Or((Match("restricted", (1,)), Range("expires", lte=moment), Range("embargo", gt=moment))))
