"""The interface between the pipeline and an illustrator, which places images and chooses them.

An illustrator turns a task into events, in an order of its own: it may decide about the whole text first, or spot by
spot as it reads. It does not depend on a server and writes no files.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from xcomp_composer.article.events import StageEvent
from xcomp_composer.article.model import Illustration
from xcomp_composer.document.blocks import Block, find_spots
from xcomp_composer.indexer_client.repository import RepositoryClient

POOL = 4  # hits for each candidate that is shown, if the request does not say
CANDIDATES = 4  # of a spot, if the request does not say
PARAGRAPHS_PER_IMAGE = 1.5  # at least, if the request does not say how many images


@dataclass(frozen=True)
class IllustrationTask:
    """A text to be illustrated.

    Attributes:
        existing: images by segment that the text has already; they stay, and are not shown elsewhere.
        queries: the only segments after which images are wanted, each with its query, empty if it is not known yet;
            None leaves the spots to the illustrator.
    """

    blocks: tuple[Block, ...]
    language: str
    existing: Mapping[int, Illustration] = field(default_factory=dict)
    queries: Mapping[int, str] | None = None

    def is_open(self, segment: int) -> bool:
        """Whether an image may come after this segment."""
        return segment not in self.existing and (self.queries is None or segment in self.queries)

    def open_spots(self) -> list[int]:
        """Returns the segments that an image may follow."""
        return [segment for segment in find_spots(self.blocks) if self.is_open(segment)]

    @property
    def existing_ids(self) -> tuple[str, ...]:
        """The images that the text has already."""
        return tuple(image.image_id for image in self.existing.values())


@dataclass(frozen=True)
class IllustrationOptions:
    """How many images are wanted.

    Attributes:
        images: this many spots, fewer where nothing fits; None leaves it to the text.
        max_images: at most this many.
        k: candidates of each spot.
        pool: hits of each spot among which the candidates are found; 0 takes `POOL` for each candidate.
        must_use: ids of images that must be shown, each once.
    """

    images: int | None = None
    max_images: int | None = None
    k: int = CANDIDATES
    pool: int = 0
    must_use: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        """Hits of each spot."""
        return max(self.pool or POOL * self.k, self.k)

    def reduce_by(self, count: int) -> "IllustrationOptions":
        """Returns the options for the rest of the text once this many images are placed."""

        def rest(bound: int | None) -> int | None:
            return None if bound is None else max(bound - count, 0)

        return replace(self, images=rest(self.images), max_images=rest(self.max_images), must_use=())

    def limit(self, spots: int) -> int:
        """Returns how many images a text with this many possible spots gets at most."""
        most = math.ceil(spots / PARAGRAPHS_PER_IMAGE) if self.images is None else self.images
        return min(spots, most if self.max_images is None else min(most, self.max_images))


@dataclass(frozen=True)
class CandidateImage:
    """An image to choose from: one of the repository, or an encoded one."""

    image_id: str = ""
    image: bytes = b""


Procedure = Literal["native", "reference", "similarity"]


@dataclass(frozen=True)
class SelectionRequest:
    """A choice among candidates for one spot.

    Attributes:
        context: the text before the spot.
        shown: images in this text, each with the index of the passage that it follows; None: one of the last passages.
        query: what was searched for; only `similarity` uses it.
        procedure: `native` as articles are illustrated, `reference` as released, `similarity` without a model.
        order: indices of the candidates in the order of their letters; empty leaves it to the illustrator.
        has_pixels: false shows the model grey areas instead of all images, to see what it knows without them.
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
    """The answer to it.

    Attributes:
        choice: index of the candidate; None if nothing fits.
        probabilities: one for each candidate; they sum to 1.
        mass: share of all probability that fell on the candidates, 0..1.
        needed: probability from which on the best candidate is chosen; 0 if another measure decides.
    """

    choice: int | None
    probabilities: tuple[float, ...]
    mass: float
    needed: float = 0.0


class Illustrator(Protocol):
    """Places images in a text, and chooses them."""

    @property
    def name(self) -> str:
        """The resolved id of the composer model, as articles record it."""

    def illustrate(
        self, task: IllustrationTask, options: IllustrationOptions, repository: RepositoryClient
    ) -> Iterator[StageEvent]:
        """Yields every spot with its query, its candidates, and its illustration or the reason for none."""

    def select(self, request: SelectionRequest, repository: RepositoryClient) -> Selection:
        """Says which candidate belongs after the context."""
