"""Answers queries over a repository: embed, route by language, search each space, fuse, say how sure.

A batch of queries costs one forward pass per space and one call of the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer import background, language
from xcomp_indexer.calibrate import Calibration, calibrate
from xcomp_indexer.decode import decode
from xcomp_indexer.embed import Embedder, Vectors
from xcomp_indexer.fusion import diversify, reciprocal_rank
from xcomp_indexer.library import Library, Repository
from xcomp_indexer.store import And, Filter, Found, Ids, Match, Near, Not, Or, Range
from xcomp_indexer.store.payload import utc
from xcomp_protos.transport import telemetry
from xcomp_protos.transport.errors import ImageError, InvalidRequest, NotFound

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
    background: tuple[float, float] | None  # median and ninth decile of the background's standouts


class Search:
    """Searches the repositories of a library; remembers their calibrations."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._background: dict[str, Vectors] = {}  # by digest of the embedder
        self._calibrations: WeakKeyDictionary[Repository, dict[str, tuple[int, Calibration]]] = WeakKeyDictionary()

    def answer(self, repository: Repository, question: Question) -> list[Answer]:
        """Answers each query.

        Raises:
            NotFound: an id that a query names is not there.
            InvalidRequest: a query's picture is none, or its parts cancel each other out.
        """
        languages = [_language(query) for query in question.queries]
        routes = [self._spaces(repository, question.route, each) for each in languages]
        spaces = sorted({space for route in routes for space in route})
        vectors = {
            space: self._vectors(
                repository, space, {at: question.queries[at] for at, route in enumerate(routes) if space in route}
            )
            for space in spaces
        }
        condition = _condition(question)
        limit = question.k if not question.diversity else max(POOL, 4 * question.k)
        nears = [
            Near(space, vectors[space][at], limit=max(limit, POOL) if len(route) > 1 else limit, where=condition)
            for at, route in enumerate(routes)
            for space in route
        ]
        with telemetry.stage("store"):
            found = iter(repository.store.near(nears))
        scales = {space: self._calibration(repository, space) for space in spaces}
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
        self._calibrations.pop(repository, None)

    def _spaces(self, repository: Repository, route: Route, found: language.Language) -> list[str]:
        """Chooses the spaces that understand the language; both where a text is mixed, all for pictures."""
        names = [spec.name for spec in repository.spaces]
        wanted = found if route == "auto" else route
        if wanted in ("all", "mixed"):
            return names
        able = [name for name in names if wanted in repository.models[name]["languages"]]  # type: ignore[operator]  # a list
        return able or names

    def _vectors(
        self, repository: Repository, space: str, queries: Mapping[int, Sequence[Part]]
    ) -> dict[int, NDArray[np.float32]]:
        """Embeds queries in one space, each [D]: parts times weight, added, of unit length."""
        embedder = self._library.embedder(repository, space)
        texts = list(dict.fromkeys(part.text for query in queries.values() for part in query if part.text is not None))
        encoded = dict(zip(texts, embedder.encode_texts(texts), strict=True)) if texts else {}
        rows = {}
        for at, query in queries.items():
            row = np.zeros(embedder.dimension, dtype=np.float32)
            for part in query:
                vector = encoded[part.text] if part.text is not None else _pictured(repository, space, embedder, part)
                row += part.weight * vector
            norm = float(np.linalg.norm(row))
            if norm < 1e-6:
                raise InvalidRequest("queries: the parts of a query cancel each other out: change their weights")
            rows[at] = row / norm
        return rows

    def _calibration(self, repository: Repository, space: str) -> Calibration:
        """Returns the scale of a space; it is taken anew when the repository grew or shrank by a tenth."""
        count = repository.store.count()
        known = self._calibrations.setdefault(repository, {})
        before, scale = known.get(space, (-1, None))
        stale = scale is None or abs(count - before) > 0.1 * before
        telemetry.count("cache_lookups", 1, "calibration", "miss" if stale else "hit")
        if scale is None or stale:
            embedder = self._library.embedder(repository, space)
            if embedder.digest not in self._background:
                texts = [text for name, group in _BACKGROUND.items() if name in embedder.languages for text in group]
                self._background[embedder.digest] = embedder.encode_texts(texts)
            scale = calibrate(repository.store, space, self._background[embedder.digest])
            known[space] = (count, scale)
        return scale


def _fused(
    scales: Mapping[str, Calibration], of_query: Mapping[str, tuple[NDArray[np.float32], list[Found]]]
) -> list[Hit]:
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


def _language(query: Sequence[Part]) -> language.Language:
    text = " ".join(part.text for part in query if part.text)
    return language.detect(text) if text else "mixed"


def _pictured(repository: Repository, space: str, embedder: Embedder, part: Part) -> NDArray[np.float32]:
    if part.image is not None:
        picture = decode_query(part.image, image_size=embedder.image_size, field="queries")
        vectors: NDArray[np.float32] = embedder.encode_images([picture]).vectors
        return np.asarray(vectors[0])
    stored = repository.store.get([str(part.id)], vectors=True)
    if not stored or space not in stored[0].vectors:
        raise NotFound(f"image_id: there is no image {part.id!r} in space {space!r} of repository {repository.name!r}")
    return stored[0].vectors[space]


def decode_query(content: bytes, *, image_size: int, field: str) -> Image.Image:
    """Decodes a picture that came with a request.

    Raises:
        InvalidRequest: it is none; the message names the field.
    """
    try:
        return decode(content, image_size=image_size).image
    except ImageError as error:
        raise InvalidRequest(f"{field}: an image cannot be used: {error}") from None


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
