"""What the indexer returns: images, and how well they fit the texts of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xcomp_composer.article.model import Candidate, Json, Label, SpaceScore
from xcomp_composer.article.proto import (
    labels_from_proto,
    metadata_from_struct,
    spaces_from_proto,
)
from xcomp_protos import common_pb2 as common

Vectors: TypeAlias = NDArray[np.float64]  # [B, D], rows of unit length


@dataclass(frozen=True)
class Background:
    """Z-scores of the best hits of texts that ask for nothing in particular: what chance reaches in the repository."""

    median: float
    ninth_decile: float


@dataclass(frozen=True)
class Hit:
    """An image, and how well it fits the text that found it."""

    image_id: str
    path: str
    score: float = 0.0  # cosine similarity in the space with the highest z-score
    standout: float = 0.0  # z-score: standard deviations above the mean of the repository
    confidence: float = 0.0  # 0..1, share of background queries whose best hit gives less evidence
    content_hash: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()
    width: int = 0
    height: int = 0
    spaces: Mapping[str, SpaceScore] = field(default_factory=dict)  # by name

    def to_candidate(self, score: float, *, probability: float | None = None, reason: str = "") -> Candidate:
        """Returns the image as a candidate."""
        return Candidate(
            self.image_id, self.path, score, probability, reason, self.metadata, self.labels, self.width, self.height,
            self.spaces, self.content_hash,
        )  # fmt: skip


class ImagePair(NamedTuple):
    """Two images and the cosine similarity of their vectors."""

    image_id: str
    other_id: str
    similarity: float


@dataclass(frozen=True)
class SearchResult:
    """The answer to a search for several texts.

    Attributes:
        hits: of each text, best first.
        background: of the spaces that answered.
        vectors: of the texts, `[B, D]`; empty if they were not asked for.
        pairs: of similar images among the hits; None if they were not asked for or did not fit into one answer.
    """

    hits: Sequence[Sequence[Hit]]
    background: Background
    vectors: Vectors
    pairs: Sequence[ImagePair] | None = None


def hit_from_proto(message: common.Hit) -> Hit:
    """Returns the hit of a message."""
    return hit_of_image(
        message.image,
        score=best_cosine(message),
        standout=message.standout,
        confidence=message.confidence,
        spaces=spaces_from_proto(message.spaces),
    )


def hit_of_image(
    image: common.Image,
    *,
    score: float = 0.0,
    standout: float = 0.0,
    confidence: float = 0.0,
    spaces: Mapping[str, SpaceScore] | None = None,
) -> Hit:
    """Returns an image of a message; without scores, it was not searched for."""
    return Hit(
        image_id=image.id,
        path=image.path,
        score=score,
        standout=standout,
        confidence=confidence,
        content_hash=image.content_hash,
        metadata=metadata_from_struct(image.metadata),
        labels=labels_from_proto(tuple(image.labels)),
        width=image.width,
        height=image.height,
        spaces=spaces or {},
    )


def best_cosine(hit: common.Hit) -> float:
    """Returns the similarity in the space with the highest z-score: a score fused from ranks is not a similarity."""
    return max(hit.spaces.values(), key=lambda each: each.standout).score if hit.spaces else hit.score
