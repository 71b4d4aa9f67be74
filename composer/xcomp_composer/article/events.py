"""The events of making an article, one for each step; the last event is the article itself.

The events of a spot come in this order: the spot, its query, its candidates, then an illustration or the reason why the
spot stays empty.
"""

from dataclasses import dataclass

from xcomp_composer.article.model import Article, Candidate, Illustration, Unfilled


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the article as it is written."""

    text: str


@dataclass(frozen=True, slots=True)
class Spot:
    """A place for an image, after this segment; a larger score asks for an image more strongly."""

    segment: int
    score: float


@dataclass(frozen=True, slots=True)
class SpotQuery:
    """The query of a spot."""

    segment: int
    query: str


@dataclass(frozen=True, slots=True)
class SpotCandidates:
    """The candidates of a spot, best first."""

    segment: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class SpotIllustration:
    """The illustration of a spot."""

    segment: int
    illustration: Illustration


StageEvent = Spot | SpotQuery | SpotCandidates | SpotIllustration | Unfilled
Event = TextDelta | StageEvent | Article
