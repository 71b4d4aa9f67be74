"""What the indexer found: a picture, and how well it fits what was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from xcomp_composer.article.model import Candidate, Json, Label, SpaceScore
from xcomp_composer.article.proto import (
    labels_from_proto,
    metadata_from_struct,
    spaces_from_proto,
)
from xcomp_protos import common_pb2 as common


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
    spaces: Mapping[str, SpaceScore] = field(default_factory=dict)  # those that were searched, by name

    def candidate(self, score: float, *, probability: float | None = None, reason: str = "") -> Candidate:
        """Returns the candidate that this hit makes."""
        return Candidate(
            self.image_id, self.path, score, probability, reason, self.metadata, self.labels, self.width, self.height,
            self.spaces, self.content_hash,
        )  # fmt: skip


def hit_from_proto(hit: common.Hit) -> Hit:
    """Returns the hit of a message."""
    image = hit.image
    return Hit(
        image_id=image.id,
        path=image.path,
        score=cosine(hit),
        standout=hit.standout,
        confidence=hit.confidence,
        content_hash=image.content_hash,
        metadata=metadata_from_struct(image.metadata),
        labels=labels_from_proto(tuple(image.labels)),
        width=image.width,
        height=image.height,
        spaces=spaces_from_proto(hit.spaces),
    )


def cosine(hit: common.Hit) -> float:
    """Returns the similarity in the space that is surest: ranks fused over several say nothing about closeness."""
    return max(hit.spaces.values(), key=lambda each: each.standout).score if hit.spaces else hit.score
