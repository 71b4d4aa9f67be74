"""Reads what a search asks for, and computes the one vector that the parts of a query add up to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer.embed.base import Embedder, Vectors
from xcomp_indexer.images.decode import decode
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.search import language
from xcomp_indexer.store import And, Filter, Ids, Not
from xcomp_protos.errors import ImageError, InvalidRequest, NotFound

Route = Literal["auto", "en", "zh", "all"]
POOL = 100  # candidates per space before fusion and diversity, at least

Vector = NDArray[np.float32]  # [D]


@dataclass(frozen=True)
class Part:
    """One part of a query; exactly one of text, image and id is set. A negative weight pushes away."""

    text: str | None = None
    image: bytes | None = None
    id: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class SearchRequest:
    """A batch of queries under the same conditions."""

    queries: Sequence[Sequence[Part]]
    k: int
    route: Route = "auto"
    where: Filter | None = None
    exclude_ids: frozenset[str] = frozenset()
    only_ids: frozenset[str] = frozenset()
    diversity: float = 0.0
    allow_restricted: bool = False
    collapse: float = 0.0  # cosine from which on two hits count as one image; 0: never
    min_confidence: float = 0.0
    space_weights: Mapping[str, float] = field(default_factory=dict)  # 1 if unnamed; 0 leaves a space out
    exact: bool = False  # compare with every vector, whatever index there is
    all_spaces: bool = False  # score the hits in every active space
    min_similarity: float = 0.0  # cosine from which on pairs of images of the answer are listed; 0: list none
    compare_ids: frozenset[str] = frozenset()  # further images to compare with the hits

    @property
    def limit(self) -> int:
        """Hits that are ranked, of which the answer is chosen."""
        return max(POOL, 4 * self.k) if self.diversity or self.collapse else self.k

    @property
    def condition(self) -> Filter | None:
        """Filter for the store, without visibility."""
        parts: list[Filter] = [self.where] if self.where else []
        if self.exclude_ids:
            parts.append(Not(Ids(self.exclude_ids)))
        if self.only_ids:
            parts.append(Ids(self.only_ids))
        return And(tuple(parts)) if parts else None

    @property
    def is_single_text(self) -> bool:
        """Whether the request is one text of weight 1 and no exact search, which may be slow."""
        if len(self.queries) != 1 or len(self.queries[0]) != 1 or self.exact:
            return False
        (part,) = self.queries[0]
        return part.text is not None and part.weight == 1.0


def language_of(query: Sequence[Part]) -> language.Language:
    """Return the language of all texts of a query together; "mixed" for a query without texts."""
    text = " ".join(part.text for part in query if part.text)
    return language.detect(text) if text else "mixed"


def embed_queries(
    queries: Mapping[int, Sequence[Part]],
    repository: Repository,
    *,
    space: str,
    embedder: Embedder,
    encode: Callable[[Embedder, Sequence[str]], Vectors],
) -> dict[int, Vector]:
    """Embed queries in one space: the sum of parts times weight, scaled to unit length.

    Raises:
        NotFound: the repository has no image of an id in this space.
        InvalidRequest: an image of a query cannot be read, or its parts cancel each other out.
    """
    parts = [part for query in queries.values() for part in query]
    texts = list(dict.fromkeys(part.text for part in parts if part.text is not None))
    encoded = dict(zip(texts, encode(embedder, texts), strict=True)) if texts else {}
    stored = _read_vectors(repository, space, [part.id for part in parts if part.id is not None])

    def vector(part: Part) -> Vector:
        if part.text is not None:
            return np.asarray(encoded[part.text])
        return stored[part.id] if part.id is not None else _embed_image(embedder, part.image or b"")

    return {at: _add_up([(part.weight, vector(part)) for part in query], embedder) for at, query in queries.items()}


def decode_query(content: bytes, *, image_size: int, field: str) -> Image.Image:
    """Decode an image that came with a request.

    Raises:
        InvalidRequest: it is not an image that can be read; the message names the field.
    """
    try:
        return decode(content, image_size=image_size).image
    except ImageError as error:
        raise InvalidRequest(f"an image cannot be used: {error}", field=field) from None


def _add_up(terms: Sequence[tuple[float, Vector]], embedder: Embedder) -> Vector:
    row = np.zeros(embedder.dimension, dtype=np.float32)
    for weight, vector in terms:
        row += weight * vector
    norm = float(np.linalg.norm(row))
    if norm < 1e-6:
        raise InvalidRequest("queries: the parts of a query cancel each other out: change their weights")
    return row / norm


def _read_vectors(repository: Repository, space: str, ids: Sequence[str]) -> Mapping[str, Vector]:
    points = repository.store.get(list(dict.fromkeys(ids)), vectors=True) if ids else []
    known = {point.id: point.vectors[space] for point in points if space in point.vectors}
    for each in ids:
        if each not in known:
            name = repository.name
            raise NotFound(f"image_id: there is no image {each!r} in space {space!r} of repository {name!r}")
    return known


def _embed_image(embedder: Embedder, content: bytes) -> Vector:
    image = decode_query(content, image_size=embedder.image_size, field="queries")
    vectors: Vectors = embedder.encode_images([image]).vectors
    return np.asarray(vectors[0])
