"""The seam between the pipeline and whoever places, asks and chooses.

An illustrator turns a draft into events, spot by spot, in an order of its own: one that reasons about the whole text
decides first and tells afterwards, one that reads along decides as it goes. It knows no server and writes no files.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from xcomp_composer.article.events import StageEvent
from xcomp_composer.article.model import Illustration
from xcomp_composer.document.blocks import Block, find_spots
from xcomp_composer.indexer_client.repository import RepositoryClient

POOL = 4  # hits for each candidate that is shown, where the request does not say
CANDIDATES = 4  # offered for a spot where the request does not say
PASSAGES_PER_PICTURE = 1.5  # at least, where the request does not say how many pictures


@dataclass(frozen=True)
class IllustrationTask:
    """A text to be illustrated.

    Attributes:
        standing: pictures that stand already, by segment; they stay and are shown nowhere else.
        asked: segments after which pictures are wanted, and nowhere else, each with its query as far as it is known;
            None leaves the places to the illustrator.
    """

    blocks: tuple[Block, ...]
    language: str
    standing: Mapping[int, Illustration] = field(default_factory=dict)
    asked: Mapping[int, str] | None = None

    def is_open(self, segment: int) -> bool:
        """Whether a picture may come after this segment."""
        return segment not in self.standing and (self.asked is None or segment in self.asked)

    @property
    def standing_ids(self) -> tuple[str, ...]:
        """The images that stand already."""
        return tuple(picture.image_id for picture in self.standing.values())


@dataclass(frozen=True)
class IllustrationOptions:
    """How many pictures are wanted.

    Attributes:
        images: so many spots, less those where nothing fits; None leaves it to the text.
        max_images: at most so many.
        k: candidates per spot.
        pool: hits per spot among which the candidates are made out; 0 takes `POOL` for each.
        must_use: ids of images that are shown, each once.
    """

    images: int | None = None
    max_images: int | None = None
    k: int = CANDIDATES
    pool: int = 0
    must_use: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        """Hits per spot."""
        return max(self.pool or POOL * self.k, self.k)

    def less(self, count: int) -> "IllustrationOptions":
        """Returns the wish for what is left once so many pictures stand."""

        def left(bound: int | None) -> int | None:
            return None if bound is None else max(bound - count, 0)

        return replace(self, images=left(self.images), max_images=left(self.max_images), must_use=())

    def limit(self, places: int) -> int:
        """Returns how many spots a text of so many places gets at most."""
        most = math.ceil(places / PASSAGES_PER_PICTURE) if self.images is None else self.images
        return min(places, most if self.max_images is None else min(most, self.max_images))


@dataclass(frozen=True)
class CandidateImage:
    """A picture among which to choose: an image of the repository or an encoded picture."""

    image_id: str = ""
    image: bytes = b""


Procedure = Literal["native", "reference", "similarity"]


@dataclass(frozen=True)
class SelectionRequest:
    """The context-aware choice alone.

    Attributes:
        context: the text before the place.
        shown: pictures that stand in it, each with the passage that it follows; without any, they follow the last ones.
        query: what was searched for; only `similarity` goes by it.
        procedure: `native` as articles are illustrated, `reference` as released, `similarity` without a model.
        order: the candidates' numbers in the order of their letters; empty leaves it to the illustrator.
        has_pixels: false shows the model grey areas instead of all pictures, to see what it knows without them.
    """

    context: str
    candidates: tuple[CandidateImage, ...]
    shown: tuple[tuple[int | None, CandidateImage], ...] = ()
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

    def illustrate(
        self, draft: IllustrationTask, wish: IllustrationOptions, repository: RepositoryClient
    ) -> Iterator[StageEvent]:
        """Yields every spot with its query, its candidates, and its illustration or the reason for none."""

    def select(self, question: SelectionRequest, repository: RepositoryClient) -> Selection:
        """Says which candidate belongs after the context."""


def places(blocks: Sequence[Block]) -> list[int]:
    """Returns the numbers of the paragraphs that a picture may follow: those the author has not illustrated."""
    return find_spots(blocks)
