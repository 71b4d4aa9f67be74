"""A query: texts, pictures and images of the repository, each with a weight, and the one vector they add up to."""

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
Encode = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True)
class Part:
    """One part of a query; exactly one of text, image and id is set. A negative weight pushes away."""

    text: str | None = None
    image: bytes | None = None
    id: str | None = None
    weight: float = 1.0


Query = Sequence[Part]


def language_of(query: Query) -> language.Language:
    """Returns the language of all texts of a query together; a query without any is every language's."""
    text = " ".join(part.text for part in query if part.text)
    return language.detect(text) if text else "mixed"


def embedded(
    queries: Mapping[int, Query], *, repository: Repository, space: str, embedder: Embedder, encode: Encode
) -> dict[int, Vector]:
    """Embeds queries in one space: parts times weight, added, of unit length.

    Raises:
        NotFound: an id that a query names is not there.
        InvalidRequest: a query's picture is none, or its parts cancel each other out.
    """
    parts = [part for query in queries.values() for part in query]
    texts = list(dict.fromkeys(part.text for part in parts if part.text is not None))
    encoded = dict(zip(texts, encode(texts), strict=True)) if texts else {}
    stored = _stored(repository, space, [part.id for part in parts if part.id is not None])

    def vector(part: Part) -> Vector:
        if part.text is not None:
            return np.asarray(encoded[part.text])
        return stored[part.id] if part.id is not None else _pictured(embedder, part.image or b"")

    return {at: _sum([(part.weight, vector(part)) for part in query], embedder) for at, query in queries.items()}


def decode_query(content: bytes, *, image_size: int, field: str) -> Image.Image:
    """Decodes a picture that came with a request.

    Raises:
        InvalidRequest: it is none; the message names the field.
    """
    try:
        return decode(content, image_size=image_size).image
    except ImageError as error:
        raise InvalidRequest(f"an image cannot be used: {error}", field=field) from None


def _sum(weighed: Sequence[tuple[float, Vector]], embedder: Embedder) -> Vector:
    row = np.zeros(embedder.dimension, dtype=np.float32)
    for weight, vector in weighed:
        row += weight * vector
    norm = float(np.linalg.norm(row))
    if norm < 1e-6:
        raise InvalidRequest("queries: the parts of a query cancel each other out: change their weights")
    return row / norm


def _stored(repository: Repository, space: str, ids: Sequence[str]) -> Mapping[str, Vector]:
    found = repository.store.get(list(dict.fromkeys(ids)), vectors=True) if ids else []
    known = {point.id: point.vectors[space] for point in found if space in point.vectors}
    for each in ids:
        if each not in known:
            name = repository.name
            raise NotFound(f"image_id: there is no image {each!r} in space {space!r} of repository {name!r}")
    return known


def _pictured(embedder: Embedder, content: bytes) -> Vector:
    picture = decode_query(content, image_size=embedder.image_size, field="queries")
    vectors: Vectors = embedder.encode_images([picture]).vectors
    return np.asarray(vectors[0])


@dataclass(frozen=True)
class SearchRequest:
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
    all_spaces: bool = False  # score the hits in every active space
    min_similarity: float = 0.0  # cosine from which on images of the answer are listed as similar; 0: none is
    compare_ids: frozenset[str] = frozenset()  # further images to compare with the hits

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
