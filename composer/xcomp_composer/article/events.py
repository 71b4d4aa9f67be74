"""What happens while an article is made, one small value per step; the article itself comes last.

A spot is followed by its query, its candidates and either an illustration or the reason why it stays empty.
"""

from dataclasses import dataclass

from xcomp_composer.article.model import Article, Candidate, Illustration, Unfilled


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the article as it is written."""

    text: str


@dataclass(frozen=True, slots=True)
class Spot:
    """A place for a picture: after this segment, the more wanted the larger the score."""

    segment: int
    score: float


@dataclass(frozen=True, slots=True)
class SpotQuery:
    """What is searched for."""

    segment: int
    query: str


@dataclass(frozen=True, slots=True)
class SpotCandidates:
    """What the repository offered, best first."""

    segment: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class SpotIllustration:
    """What was chosen."""

    segment: int
    illustration: Illustration


StageEvent = Spot | SpotQuery | SpotCandidates | SpotIllustration | Unfilled
Event = TextDelta | StageEvent | Article
