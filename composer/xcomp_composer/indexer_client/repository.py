"""One repository of the indexer, under the conditions of one request.

This file does not depend on articles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from xcomp_composer.indexer_client.connection import IndexerConnection
from xcomp_composer.indexer_client.hit import (
    Background,
    Hit,
    ImagePair,
    SearchResult,
    Vectors,
    best_cosine,
    hit_from_proto,
    hit_of_image,
)
from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Conflict, Exhausted, InvalidRequest, NotFound

T = TypeVar("T")

_MAX_INPUTS = 512  # texts of a call that embeds
_MAX_QUERIES = 128  # of a search; with 16 hits each about half of the 4 MiB that a message may have
_MAX_HITS = 1920  # of all queries of a search; the indexer compares at most 2048 images with each other
_MAX_IDS = 1000  # of a call that reads images
_NEIGHBORS = 8  # most similar images of each, where a search could not compare its hits
_LANGUAGES = {"en": common.LANGUAGE_EN, "zh": common.LANGUAGE_ZH, "all": common.LANGUAGE_ALL}


@dataclass(frozen=True)
class Conditions:
    """Which images a request may get, and from where.

    Attributes:
        profile: that the repository must have; empty: any.
        language: of the texts that are searched for.
        where: filter expressions, all of which hold.
        allow_restricted: internal and expired images and those under embargo as well.
        exclude_ids: images that are never returned.
        only_ids: if any, only these images are returned.
    """

    repository: str
    profile: str = ""
    language: str = "en"
    where: tuple[str, ...] = ()
    allow_restricted: bool = False
    exclude_ids: tuple[str, ...] = ()
    only_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpaceLanguages:
    """A space that answers, and the languages of the texts that it understands."""

    name: str
    languages: frozenset[str]


@dataclass(frozen=True)
class RepositoryClient:
    """One repository, as one request may see it.

    Attributes:
        profile: with which the repository was created.
        spaces: those that answer.
    """

    connection: IndexerConnection
    conditions: Conditions
    profile: str
    spaces: tuple[SpaceLanguages, ...]

    @classmethod
    def open(cls, connection: IndexerConnection, conditions: Conditions) -> "RepositoryClient":
        """Asks the indexer for the profile and the spaces of a repository.

        Raises:
            NotFound: there is no such repository.
            Conflict: it has another profile than the request names.
        """
        name = conditions.repository
        described = connection.call(connection.stub.Describe, pb.DescribeRequest(repository=name)).repositories
        if not described:
            raise NotFound(f"there is no repository {name!r}")
        profile = described[0].profile
        if conditions.profile and conditions.profile != profile:
            raise Conflict(f"repository {name!r} has the profile {profile}, not {conditions.profile}: omit the profile")
        spaces = tuple(
            SpaceLanguages(space.name, frozenset(space.languages))
            for space in described[0].spaces
            if space.state in ("", "active")
        )
        return cls(connection, conditions, profile, spaces)

    def with_conditions(self, conditions: Conditions) -> "RepositoryClient":
        """Returns the same repository under other conditions."""
        return replace(self, conditions=conditions)

    def excluding(self, ids: Sequence[str]) -> "RepositoryClient":
        """Returns the same repository without these images."""
        return self.with_conditions(replace(self.conditions, exclude_ids=(*self.conditions.exclude_ids, *ids)))

    def only(self, ids: Sequence[str]) -> "RepositoryClient":
        """Returns the same repository with only these images, whatever the filters of the request say."""
        return self.with_conditions(replace(self.conditions, only_ids=tuple(ids), exclude_ids=(), where=()))

    @property
    def space(self) -> str:
        """The first space that understands the language of the request; empty if none does."""
        return next((each.name for each in self.spaces if self.conditions.language in each.languages), "")

    def understands(self, language: str) -> bool:
        """Whether texts of the language can be embedded in the space of the request's language."""
        languages = next((each.languages for each in self.spaces if each.name == self.space), frozenset[str]())
        return language in (languages or {self.conditions.language})

    @property
    def foreign(self) -> str:
        """A language that the repository understands instead of the request's; empty if it understands that."""
        languages = {language for each in self.spaces for language in each.languages}
        return "" if self.conditions.language in languages else min(languages, default="")

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts in the space of the request's language, `[B, D]`."""
        return self._embed([pb.EmbedInput(text=text) for text in texts])

    def embed_images(self, images: Sequence[bytes]) -> Vectors:
        """Embeds encoded images in the same space, `[B, D]`.

        Raises:
            InvalidRequest: one is not a readable image.
        """
        try:
            return self._embed([pb.EmbedInput(image=image) for image in images])
        except InvalidRequest as error:  # the request of our caller has another field
            raise InvalidRequest(error.problem, field="candidates") from None

    def search(
        self,
        texts: Sequence[str],
        *,
        k: int,
        all_spaces: bool = False,
        has_vectors: bool = False,
        min_similarity: float = 0.0,
        compare_ids: Sequence[str] = (),
    ) -> SearchResult:
        """Finds the k best images for each text.

        Args:
            texts: in the language of the request.
            k: hits of each text.
            all_spaces: score the hits in every space. Embeds the texts once more for each further space.
            has_vectors: return the vectors of the texts.
            min_similarity: return the pairs of images from this cosine on; 0: none.
            compare_ids: images to compare with the hits.
        """
        request = self._request(k, all_spaces=all_spaces, query_vectors=has_vectors)
        size = max(1, min(_MAX_QUERIES, _MAX_HITS // k))
        if min_similarity and len(texts) <= size:
            request.min_similarity = min_similarity
            request.compare_ids.extend(compare_ids)
        queries = [pb.Query(parts=[pb.QueryPart(text=text)]) for text in texts]
        answers = [answer for part in _cut(queries, size) for answer in self._search(request, part)]
        results = [result for answer in answers for result in answer.results]
        backgrounds = [each.background for each in results if each.HasField("background")]
        highest = max(((each.median, each.ninth_decile) for each in backgrounds), default=(0.0, 0.0))
        pairs = [
            ImagePair(each.image_id, each.other_id, each.cosine) for answer in answers for each in answer.similarities
        ]
        return SearchResult(
            [[hit_from_proto(hit) for hit in result.hits] for result in results],
            Background(*highest),
            np.asarray([self._vector(result) for result in results if has_vectors], dtype=np.float64),
            pairs if request.min_similarity and len(answers) == 1 else None,
        )

    def get_images(self, ids: Sequence[str]) -> list[Hit]:
        """Returns those of these images that the request may see, whatever its filters say; nothing is embedded."""
        conditions = self.conditions
        images: list[Hit] = []
        for part in _cut(list(dict.fromkeys(ids)), _MAX_IDS):
            request = pb.GetImagesRequest(
                repository=conditions.repository, ids=part, allow_restricted=conditions.allow_restricted
            )
            images += map(hit_of_image, self.connection.call(self.connection.stub.GetImages, request).images)
        return images

    def compare(self, ids: Sequence[str]) -> Iterator[ImagePair]:
        """Yields pairs of these images, each with its most similar ones; for searches that could not compare."""
        request = self._request(min(len(ids), _NEIGHBORS), only_ids=ids)
        for part in _cut(ids, _MAX_QUERIES):
            queries = [pb.Query(parts=[pb.QueryPart(image_id=image_id)]) for image_id in part]
            results = [result for answer in self._search(request, queries) for result in answer.results]
            for image_id, result in zip(part, results, strict=True):
                others = (hit for hit in result.hits if hit.image.id != image_id)
                yield from (ImagePair(image_id, hit.image.id, best_cosine(hit)) for hit in others)

    def fetch(self, image_id: str, *, max_px: int) -> bytes:
        """Returns an image, encoded, its longest side at most `max_px`.

        Raises:
            NotFound: there is no such image any more.
            Conflict: its file has changed since it was indexed.
            Denied: it is internal, expired or under embargo, and the request does not allow such images.
        """
        conditions = self.conditions
        return self.connection.fetch(
            pb.FetchRequest(
                repository=conditions.repository,
                image_id=image_id,
                max_px=max_px,
                allow_restricted=conditions.allow_restricted,
            )
        )

    def _embed(self, inputs: Sequence[pb.EmbedInput]) -> Vectors:
        rows: list[Sequence[float]] = []
        for part in _cut(inputs, _MAX_INPUTS):
            request = pb.EmbedRequest(repository=self.conditions.repository, space=self.space, inputs=part)
            rows += [vector.values for vector in self.connection.call(self.connection.stub.Embed, request).vectors]
        return np.asarray(rows, dtype=np.float64)

    def _vector(self, result: pb.QueryResult) -> Sequence[float]:
        """Returns the vector of a query in the space of the request's language, else in the first that answered."""
        space = self.space if self.space in result.vectors else next(iter(sorted(result.vectors)))
        return result.vectors[space].values

    def _request(
        self, k: int, *, all_spaces: bool = False, query_vectors: bool = False, only_ids: Sequence[str] = ()
    ) -> pb.SearchRequest:
        conditions = self.conditions
        return pb.SearchRequest(
            repository=conditions.repository,
            k=k,
            language=_LANGUAGES.get(conditions.language, common.LANGUAGE_UNSPECIFIED),
            where=conditions.where,
            exclude_ids=conditions.exclude_ids,
            only_ids=only_ids or conditions.only_ids,
            allow_restricted=conditions.allow_restricted,
            profile=conditions.profile,
            all_spaces=all_spaces,
            query_vectors=query_vectors,
        )

    def _search(self, request: pb.SearchRequest, queries: Sequence[pb.Query]) -> list[pb.SearchResponse]:
        """Searches in one call, or in two halves without pairs if the answer does not fit into a message."""
        whole = pb.SearchRequest(queries=queries)
        whole.MergeFrom(request)
        try:
            return [self.connection.call(self.connection.stub.Search, whole)]
        except Exhausted as error:
            if len(queries) == 1 or error.retry_after_s is not None:  # a full queue, which says when to come back
                raise
        half = pb.SearchRequest()
        half.CopyFrom(request)
        half.ClearField("min_similarity")
        half.ClearField("compare_ids")
        middle = len(queries) // 2
        return self._search(half, queries[:middle]) + self._search(half, queries[middle:])


def _cut(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
