"""The composer's view of the indexer: one repository under the conditions of one request.

Everything goes over gRPC. A call ends with the deadline of the request it serves, and is cancelled when the caller of
that request goes away. This file knows messages and vectors; it knows no article.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from xcomp_composer.indexer_client.call_context import CallContext
from xcomp_composer.indexer_client.hit import Background, Hit, cosine, hit_from_proto
from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client.channel import translated
from xcomp_protos.errors import Cancelled, Conflict, DeadlineExceeded, Exhausted, InvalidRequest, NotFound

Vectors = NDArray[np.float64]  # [B, D], rows of unit length
Response = TypeVar("Response")

EMBEDDED_AT_ONCE = 512
SEARCHED_AT_ONCE = 128  # with 16 hits each about half of the 4 MiB that a message may have
_LANGUAGES = {"en": common.LANGUAGE_EN, "zh": common.LANGUAGE_ZH, "all": common.LANGUAGE_ALL}


@dataclass(frozen=True)
class Conditions:
    """What a request says about the pictures it wants."""

    repository: str
    profile: str = ""
    language: str = "en"
    where: tuple[str, ...] = ()
    allow_restricted: bool = False
    exclude_ids: tuple[str, ...] = ()
    only_ids: tuple[str, ...] = ()


class RepositoryClient:
    """One repository of the indexer, as one request may see it."""

    def __init__(self, stub: rpc.IndexerStub, address: str, conditions: Conditions, context: CallContext) -> None:
        self._stub = stub
        self._address = address
        self._context = context
        self._space = ""
        self._languages: frozenset[str] = frozenset({conditions.language})
        self._spoken: frozenset[str] = self._languages
        self._spaces = 1
        self.conditions = conditions

    def under(self, conditions: Conditions) -> "RepositoryClient":
        """Returns the same repository under other conditions."""
        other = RepositoryClient(self._stub, self._address, conditions, self._context)
        other._space, other._languages = self._space, self._languages  # of the same class
        other._spoken, other._spaces = self._spoken, self._spaces
        return other

    def without(self, ids: Sequence[str]) -> "RepositoryClient":
        """Returns the same repository less these images."""
        if not ids:
            return self
        return self.under(replace(self.conditions, exclude_ids=(*self.conditions.exclude_ids, *ids)))

    def profile(self) -> str:
        """Returns the profile that the repository was made with; remembers the space of the request's language.

        Raises:
            NotFound: there is no such repository.
            Conflict: it was made with another profile than the request names.
        """
        name, asked = self.conditions.repository, self.conditions.profile
        described = self._call(self._stub.Describe, pb.DescribeRequest(repository=name)).repositories
        if not described:
            raise NotFound(f"there is no repository {name!r}")
        recorded = described[0].profile
        if asked and asked != recorded:
            raise Conflict(f"repository {name!r} has the profile {recorded}, not {asked}: leave the profile out")
        self._spoken = frozenset(language for space in described[0].spaces for language in space.languages)
        self._spaces = len(described[0].spaces)
        for space in described[0].spaces:
            if space.state in ("", "active") and self.conditions.language in space.languages:
                self._space, self._languages = space.name, frozenset(space.languages)
                break
        return recorded

    @property
    def space(self) -> str:
        """The space of the request's language, as `profile` found it; empty before."""
        return self._space

    def understands(self, language: str) -> bool:
        """Whether texts of this language may be embedded beside those of the request's."""
        return language in self._languages

    @property
    def foreign(self) -> str:
        """The language of its texts where no space understands the request's; empty where one does."""
        if self.conditions.language in self._spoken:
            return ""
        return next(iter(sorted(self._spoken)), "")

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts in the space of the request's language, [B, D]."""
        return self._embed([pb.EmbedInput(text=text) for text in texts])

    def embed_images(self, images: Sequence[bytes]) -> Vectors:
        """Embeds encoded pictures in the same space, [B, D].

        Raises:
            InvalidRequest: one is no readable picture.
        """
        try:
            return self._embed([pb.EmbedInput(image=image) for image in images])
        except InvalidRequest as error:  # in the words of the indexer, whose field the caller does not know
            raise InvalidRequest(f"candidates: {str(error).removeprefix('inputs: ')}") from None

    def search(self, texts: Sequence[str], *, k: int) -> list[list[Hit]]:
        """Finds the k best pictures for each text."""
        return self.weighed(texts, k=k)[0]

    def weighed(self, texts: Sequence[str], *, k: int) -> tuple[list[list[Hit]], Background]:
        """Finds the k best pictures for each text, and says how far chance stands out of the repository."""
        queries = [pb.Query(parts=[pb.QueryPart(text=text)]) for text in texts]
        results = self._results(queries, k, self.conditions.only_ids)
        known = [result.background for result in results if result.HasField("background")]
        highest = max(((each.median, each.ninth_decile) for each in known), default=(0.0, 0.0))
        return [[hit_from_proto(hit) for hit in result.hits] for result in results], Background(*highest)

    def hits_of(self, ids: Sequence[str]) -> list[Hit]:
        """Returns those of these images that the request may see, whatever its filters say."""
        wanted = tuple(dict.fromkeys(ids))
        if not wanted:
            return []
        some = replace(self.conditions, only_ids=wanted, exclude_ids=(), where=())
        return [hit for hits in self.under(some).search(["?"], k=len(wanted)) for hit in hits]

    def seen_by_all(self, texts: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Adds to each text's hits what spaces say that did not find them for it; nothing else changes."""
        ids = tuple({hit.image_id: None for hits in found for hit in hits})
        if all(len(hit.spaces) >= self._spaces for hits in found for hit in hits):
            return [list(hits) for hits in found]
        everywhere = self.under(replace(self.conditions, language="all", only_ids=ids, exclude_ids=(), where=()))
        by_text = [{hit.image_id: hit.spaces for hit in hits} for hits in everywhere.search(texts, k=len(ids))]
        return [
            [replace(hit, spaces={**spaces.get(hit.image_id, {}), **hit.spaces}) for hit in hits]
            for hits, spaces in zip(found, by_text, strict=True)
        ]

    def similarities(self, ids: Sequence[str]) -> Iterator[tuple[str, str, float]]:
        """Yields pairs of these images with the cosine similarity of their vectors."""
        queries = [pb.Query(parts=[pb.QueryPart(image_id=image_id)]) for image_id in ids]
        for image_id, result in zip(ids, self._results(queries, min(len(ids), 8), ids), strict=True):
            yield from ((image_id, hit.image.id, cosine(hit)) for hit in result.hits if hit.image.id != image_id)

    def fetch(self, image_id: str, *, max_px: int) -> bytes:
        """Returns a picture, encoded, its longest side at most `max_px`.

        Raises:
            NotFound: there is no such picture any more.
            Conflict: its file has changed since it was indexed.
            Denied: it is internal, expired or under embargo, and the request does not allow such.
        """
        conditions = self.conditions
        request = pb.FetchRequest(
            repository=conditions.repository,
            image_id=image_id,
            max_px=max_px,
            allow_restricted=conditions.allow_restricted,
        )
        with translated("indexer", self._address):
            parts = self._stub.Fetch(request, timeout=self._context.remaining_s())
            self._context.on_cancel(parts.cancel)
            return b"".join(part.chunk for part in parts)

    def _embed(self, inputs: Sequence[pb.EmbedInput]) -> Vectors:
        rows: list[Sequence[float]] = []
        for start in range(0, len(inputs), EMBEDDED_AT_ONCE):
            part = inputs[start : start + EMBEDDED_AT_ONCE]
            request = pb.EmbedRequest(repository=self.conditions.repository, space=self._space, inputs=part)
            rows += [vector.values for vector in self._call(self._stub.Embed, request).vectors]
        return np.asarray(rows, dtype=np.float64)

    def _results(self, queries: Sequence[pb.Query], k: int, only_ids: Sequence[str]) -> list[pb.QueryResult]:
        results: list[pb.QueryResult] = []
        for start in range(0, len(queries), SEARCHED_AT_ONCE):
            results += self._searched(queries[start : start + SEARCHED_AT_ONCE], k, only_ids)
        return results

    def _searched(self, queries: Sequence[pb.Query], k: int, only_ids: Sequence[str]) -> list[pb.QueryResult]:
        """One call; two halves where pictures with long metadata make the answer too large for a message."""
        conditions = self.conditions
        request = pb.SearchRequest(
            repository=conditions.repository,
            queries=queries,
            k=k,
            language=_LANGUAGES.get(conditions.language, common.LANGUAGE_UNSPECIFIED),
            where=conditions.where,
            exclude_ids=conditions.exclude_ids,
            only_ids=only_ids,
            allow_restricted=conditions.allow_restricted,
            profile=conditions.profile,
        )
        try:
            return list(self._call(self._stub.Search, request).results)
        except Exhausted as error:
            if len(queries) == 1 or "larger than max" not in str(error):
                raise
        middle = len(queries) // 2
        return self._searched(queries[:middle], k, only_ids) + self._searched(queries[middle:], k, only_ids)

    def _call(self, method: Callable[..., Response], request: object) -> Response:
        with translated("indexer", self._address):
            pending = method.future(request, timeout=self._context.remaining_s())  # type: ignore[attr-defined]  # of grpc's multi-callables
            self._context.on_cancel(pending.cancel)
            try:
                response: Response = pending.result()
            except grpc.FutureCancelledError:
                raise Cancelled("the caller went away") from None
            except grpc.FutureTimeoutError:
                raise DeadlineExceeded("the deadline of the request has passed") from None
        return response
