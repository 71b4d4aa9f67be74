"""The article: a text in segments, each with at most one image after it, and a record of how it was made.

The segments joined are the text, byte for byte: images stand between segments, never in them. The fields have the names
of the protobuf messages and the order of article.json. Every class has slots, because `msgspec.to_builtins` leaves out
fields of a class without them. Does not depend on protobuf, files or models.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

Language = Literal["en", "zh"]
if TYPE_CHECKING:
    Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
else:
    Json = object  # msgspec reads the annotations of these dataclasses, and does not know recursive types

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_LETTER = re.compile(r"[^\W\d_]")
_HAN_SHARE = 0.2  # Chinese texts contain foreign names and code; English texts quote few ideographs


@dataclass(frozen=True, slots=True)
class Label:
    """A class that a classifying embedder recognised in an image."""

    en: str = ""
    zh: str = ""
    probability: float = 0.0  # 0..1


@dataclass(frozen=True, slots=True)
class SpaceScore:
    """The result of one space of the repository for an image and a query."""

    rank: int = 0  # 1 = best in this space
    score: float = 0.0  # cosine similarity
    standout: float = 0.0  # z-score: standard deviations above the repository's mean


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image offered for a spot."""

    image_id: str
    path: str = ""
    retrieval_score: float = 0.0  # in the unit of the retrieving model
    probability: float | None = None  # 0..1, of the choice among the candidates
    reason: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()
    width: int = 0
    height: int = 0
    spaces: Mapping[str, SpaceScore] = field(default_factory=dict)  # by name
    content_hash: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How a model chose an image, and how sure it was."""

    prompt: str = ""  # version of the prompts; empty: no model was asked
    model_digest: str = ""  # of the weights; empty where it is not known
    mass: float | None = None  # share of all probability that fell on the candidates, 0..1
    orders: int = 0  # how many orders of the candidates the model was shown
    flipped: bool = False  # the two orders preferred different candidates


@dataclass(frozen=True, slots=True)
class Illustration:
    """The image chosen for a spot, and the texts printed about it."""

    image_id: str
    repository: str = ""
    path: str = ""
    file: str = ""  # relative to the bundle; empty until the bundle is written
    query: str = ""  # never printed
    caption: str = ""
    alt: str = ""
    credit: str = ""
    probability: float | None = None
    chosen_by: str = ""
    locked: bool = False
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""
    width: int = 0
    height: int = 0
    evidence: Evidence | None = None
    content_hash: str = ""

    @property
    def is_uncaptioned(self) -> bool:
        """Whether neither a caption nor an alternative text is known."""
        return not (self.caption or self.alt)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the text with its line breaks, and the image after it."""

    text: str
    illustration: Illustration | None = None


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A spot that stays empty, and why."""

    segment: int
    query: str = ""
    reason: str = ""
    candidates: tuple[Candidate, ...] = ()
    evidence: Evidence | None = None
    interrupted: bool = False  # the indexer or the model failed: the repository may have an image


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A change that can be undone."""

    operation: str
    before: str  # what it replaced, as JSON


@dataclass(frozen=True, slots=True)
class Article:
    """A title, the segments and their images."""

    title: str
    language: str
    model: str
    profile: str
    seed: int = field(default=0, kw_only=True)
    segments: tuple[Segment, ...]
    unfilled: tuple[Unfilled, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    repository: str = ""
    format: str = "markdown"
    draft: bool = False  # written by a small model: the text may be false, and pages say so
    exclude_ids: tuple[str, ...] = ()  # images that this article never shows

    @property
    def text(self) -> str:
        """The text without images, as it came in."""
        return "".join(segment.text for segment in self.segments)

    @property
    def choosers(self) -> tuple[str, ...]:
        """Names of all that chose images, each once; the article's model where there is no image."""
        return tuple(dict.fromkeys(illustration.chosen_by for _, illustration in self.illustrations)) or (self.model,)

    @property
    def chooser(self) -> str:
        """Name of the model that chose the images; manual edits are ignored. Else the article's model."""
        names = (illustration.chosen_by for _, illustration in self.illustrations if illustration.evidence)
        return next(names, self.model)

    @property
    def shots(self) -> tuple[Unfilled, ...]:
        """The shot list: images that the text asks for and the repository does not have."""
        return tuple(spot for spot in self.unfilled if spot.query and not spot.interrupted)

    @property
    def illustrations(self) -> tuple[tuple[int, Illustration], ...]:
        """The illustrations, each with the number of its segment."""
        return tuple((i, s.illustration) for i, s in enumerate(self.segments) if s.illustration)


def detect_language(text: str) -> Language:
    """Returns the language of a text, by the share of ideographs among its letters."""
    letters = len(_LETTER.findall(text))
    return "zh" if letters and len(_HAN.findall(text)) >= _HAN_SHARE * letters else "en"
