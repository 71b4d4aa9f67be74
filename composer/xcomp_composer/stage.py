"""The seam between the pipeline and whoever places, asks and chooses.

An illustrator turns a draft into events, spot by spot, in an order of its own: one that reasons about the whole text
decides first and tells afterwards, one that reads along decides as it goes. It knows no server and writes no files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

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


Procedure = Literal["native", "reference", "similarity"]


@dataclass(frozen=True)
class Question:
    """The context-aware choice alone.

    Attributes:
        context: the text before the place.
        shown: pictures that stand in it, by the passage that each follows.
        query: what was searched for; only `similarity` goes by it.
        procedure: `native` as articles are illustrated, `reference` as released, `similarity` without a model.
        order: the candidates' numbers in the order of their letters; empty leaves it to the illustrator.
        has_pixels: false shows the model grey areas instead of all pictures, to see what it knows without them.
    """

    context: str
    candidates: tuple[Offered, ...]
    shown: Mapping[int, Offered] = field(default_factory=dict)
    query: str = ""
    procedure: Procedure = "native"
    order: tuple[int, ...] = ()
    has_pixels: bool = True


@dataclass(frozen=True)
class Selection:
    """An answer to it.

    Attributes:
        choice: index of the candidate, None where nothing fits.
        probabilities: one per candidate; they sum to 1.
        mass: share of all probability that fell on the candidates, 0..1.
        needed: probability from which the best candidate is chosen; 0 where another measure decides.
    """

    choice: int | None
    probabilities: tuple[float, ...]
    mass: float
    needed: float = 0.0


class Illustrator(Protocol):
    """Places pictures in a text, and chooses them."""

    @property
    def name(self) -> str:
        """The resolved id of the composer model, as articles record it."""

    def illustrate(self, draft: Draft, wish: Wish, repository: Repository) -> Iterator[StageEvent]:
        """Yields every spot with its query, its candidates, and its illustration or the reason for none."""

    def select(self, question: Question, repository: Repository) -> Selection:
        """Says which candidate belongs after the context."""
