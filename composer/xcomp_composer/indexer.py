"""The composer's view of the indexer: one repository under the conditions of one request.

Everything goes over gRPC. A call ends with the deadline of the request it serves, and is cancelled when the caller of
that request goes away. This file knows messages and vectors; it knows no article.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from xcomp_composer.article import Candidate, Json, Label
from xcomp_composer.wire import labels_from_proto, metadata_from_struct
from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.transport.channel import translated
from xcomp_protos.transport.errors import Cancelled, Conflict, DeadlineExceeded, Exhausted, NotFound

Vectors = NDArray[np.float64]  # [B, D], rows of unit length
Response = TypeVar("Response")

EMBEDDED_AT_ONCE = 512
SEARCHED_AT_ONCE = 128  # with 16 hits each about half of the 4 MiB that a message may have
_LANGUAGES = {"en": common.LANGUAGE_EN, "zh": common.LANGUAGE_ZH}


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


@dataclass(frozen=True)
class Background:
    """How far the best hits of texts about nothing in particular stand out of a repository, in standard deviations."""

    median: float
    ninth_decile: float


@dataclass(frozen=True)
class Hit:
    """A picture that was found for a text."""

    image_id: str
    path: str
    score: float  # cosine similarity in the space where it stands out most
    standout: float  # standard deviations above the repository's mean
    confidence: float  # 0..1, share of background queries whose best hit gives less evidence
    content_hash: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()
    width: int = 0
    height: int = 0

    def candidate(self, score: float, *, probability: float | None = None, reason: str = "") -> Candidate:
        """Returns the candidate that this hit makes."""
        return Candidate(
            self.image_id, self.path, score, probability, reason, self.metadata, self.labels, self.width, self.height
        )


class Caller(Protocol):
    """Who waits for the answer, and for how long."""

    def remaining_s(self) -> float:
        """Seconds that are left; raises DeadlineExceeded or Cancelled when there are none."""

    def when_gone(self, callback: Callable[[], object]) -> None:
        """Runs the callback when the caller goes away."""


class Repository:
    """One repository of the indexer, as one request may see it."""

    def __init__(self, stub: rpc.IndexerStub, address: str, conditions: Conditions, caller: Caller) -> None:
        self._stub = stub
        self._address = address
        self._caller = caller
        self._space = ""
        self._languages: frozenset[str] = frozenset({conditions.language})
        self.conditions = conditions

    def under(self, conditions: Conditions) -> "Repository":
        """Returns the same repository under other conditions."""
        other = Repository(self._stub, self._address, conditions, self._caller)
        other._space, other._languages = self._space, self._languages  # of the same class
        return other

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
        for space in described[0].spaces:
            if self.conditions.language in space.languages:
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

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts in the space of the request's language, [B, D]."""
        return self._embed([pb.EmbedInput(text=text) for text in texts])

    def embed_images(self, images: Sequence[bytes]) -> Vectors:
        """Embeds encoded pictures in the same space, [B, D]."""
        return self._embed([pb.EmbedInput(image=image) for image in images])

    def search(self, texts: Sequence[str], *, k: int) -> list[list[Hit]]:
        """Finds the k best pictures for each text."""
        return self.weighed(texts, k=k)[0]

    def weighed(self, texts: Sequence[str], *, k: int) -> tuple[list[list[Hit]], Background]:
        """Finds the k best pictures for each text, and says how far chance stands out of the repository."""
        queries = [pb.Query(parts=[pb.QueryPart(text=text)]) for text in texts]
        results = self._results(queries, k, self.conditions.only_ids)
        known = [result.background for result in results if result.HasField("background")]
        highest = max(((each.median, each.ninth_decile) for each in known), default=(0.0, 0.0))
        return [[_hit(hit) for hit in result.hits] for result in results], Background(*highest)

    def similarities(self, ids: Sequence[str]) -> Iterator[tuple[str, str, float]]:
        """Yields pairs of these images with the cosine similarity of their vectors."""
        queries = [pb.Query(parts=[pb.QueryPart(image_id=image_id)]) for image_id in ids]
        for image_id, result in zip(ids, self._results(queries, min(len(ids), 8), ids), strict=True):
            yield from ((image_id, hit.image.id, _cosine(hit)) for hit in result.hits if hit.image.id != image_id)

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
            parts = self._stub.Fetch(request, timeout=self._caller.remaining_s())
            self._caller.when_gone(parts.cancel)
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
            pending = method.future(request, timeout=self._caller.remaining_s())  # type: ignore[attr-defined]  # of grpc's multi-callables
            self._caller.when_gone(pending.cancel)
            try:
                response: Response = pending.result()
            except grpc.FutureCancelledError:
                raise Cancelled("the caller went away") from None
            except grpc.FutureTimeoutError:
                raise DeadlineExceeded("the deadline of the request has passed") from None
        return response


def _hit(hit: common.Hit) -> Hit:
    image = hit.image
    return Hit(
        image_id=image.id,
        path=image.path,
        score=_cosine(hit),
        standout=hit.standout,
        confidence=hit.confidence,
        content_hash=image.content_hash,
        metadata=metadata_from_struct(image.metadata),
        labels=labels_from_proto(tuple(image.labels)),
        width=image.width,
        height=image.height,
    )


def _cosine(hit: common.Hit) -> float:
    """Ranks fused over several spaces say nothing about closeness; the space that is surest does."""
    return max(hit.spaces.values(), key=lambda each: each.standout).score if hit.spaces else hit.score
