"""The seam between the pipeline and whoever places, asks and chooses.

An illustrator turns a draft into events, spot by spot, in an order of its own: one that reasons about the whole text
decides first and tells afterwards, one that reads along decides as it goes. It knows no server and writes no files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from xcomp_composer.events import StageEvent
from xcomp_composer.indexer import Repository
from xcomp_composer.markdown import Block

CANDIDATES = 4  # offered for a spot where the request does not say
PASSAGES_PER_PICTURE = 1.5  # at least, where the request does not say how many pictures


@dataclass(frozen=True)
class Draft:
    """A text to be illustrated."""

    blocks: tuple[Block, ...]
    language: str


@dataclass(frozen=True)
class Wish:
    """How many pictures are wanted.

    Attributes:
        images: so many spots, less those where nothing fits; None leaves it to the text.
        max_images: at most so many.
        k: candidates per spot.
    """

    images: int | None = None
    max_images: int | None = None
    k: int = CANDIDATES


@dataclass(frozen=True)
class Offered:
    """A picture among which to choose: an image of the repository or an encoded picture."""

    image_id: str = ""
    image: bytes = b""


@dataclass(frozen=True)
class Selection:
    """The context-aware choice alone.

    Attributes:
        choice: index of the candidate, None where nothing fits.
        probabilities: one per candidate; they sum to 1.
        mass: share of all probability that fell on the candidates, 0..1.
    """

    choice: int | None
    probabilities: tuple[float, ...]
    mass: float


class Illustrator(Protocol):
    """Places pictures in a text, and chooses them."""

    @property
    def name(self) -> str:
        """The resolved id of the composer model, as articles record it."""

    def illustrate(self, draft: Draft, wish: Wish, repository: Repository) -> Iterator[StageEvent]:
        """Yields every spot with its query, its candidates, and its illustration or the reason for none."""

    def select(self, context: str, candidates: Sequence[Offered], repository: Repository) -> Selection:
        """Says which candidate belongs after the context."""
