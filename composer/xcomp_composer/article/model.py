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
_HAN_SHARE = 0.2  # a Chinese text keeps its foreign names and its code; an English one quotes few ideographs


@dataclass(frozen=True, slots=True)
class Label:
    """A class that a classifying embedder saw in a picture."""

    en: str = ""
    zh: str = ""
    probability: float = 0.0  # 0..1


@dataclass(frozen=True, slots=True)
class SpaceScore:
    """What one space of the repository says of a picture and a query."""

    rank: int = 0  # 1 = best in this space
    score: float = 0.0  # cosine similarity
    standout: float = 0.0  # z-score: standard deviations above the repository's mean


@dataclass(frozen=True, slots=True)
class Candidate:
    """A picture offered for a spot."""

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
    """What a choice rests on."""

    prompt: str = ""  # version of the prompts; empty: no model was asked
    model_digest: str = ""  # of the weights; empty where nobody can know
    mass: float | None = None  # share of all probability that fell on the candidates, 0..1
    orders: int = 0  # in how many orders the candidates were shown to the model
    flipped: bool = False  # the two orders preferred different candidates


@dataclass(frozen=True, slots=True)
class Illustration:
    """The picture that was chosen for a spot, with what is printed about it."""

    image_id: str
    repository: str = ""
    path: str = ""
    file: str = ""  # relative to the bundle; empty until it is written
    query: str = ""  # what was searched for; never printed
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
        """Whether nothing is known that could be printed about the picture."""
        return not (self.caption or self.alt)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the text with its line breaks, and the picture after it."""

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
    interrupted: bool = False  # the indexer or the model failed, which says nothing about the repository


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A change that can be taken back."""

    operation: str
    before: str  # what it replaced, as JSON


@dataclass(frozen=True, slots=True)
class Article:
    """A title, the segments and their pictures."""

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
    draft: bool = False  # written by a small model: may be false, and is marked
    exclude_ids: tuple[str, ...] = ()  # ids of images that it never shows

    @property
    def text(self) -> str:
        """The words alone, as they came in."""
        return "".join(segment.text for segment in self.segments)

    @property
    def choosers(self) -> tuple[str, ...]:
        """Who chose the pictures, each named once; the article's model where there is none."""
        return tuple(dict.fromkeys(picture.chosen_by for _, picture in self.illustrations)) or (self.model,)

    @property
    def chooser(self) -> str:
        """Whoever chose its pictures, changes of a person's aside; the article's model where there is none."""
        made = (picture.chosen_by for _, picture in self.illustrations if picture.evidence)
        return next(made, self.model)

    @property
    def shots(self) -> tuple[Unfilled, ...]:
        """The shot list: pictures that the text asks for and the repository does not have."""
        return tuple(spot for spot in self.unfilled if spot.query and not spot.interrupted)

    @property
    def illustrations(self) -> tuple[tuple[int, Illustration], ...]:
        """Numbers of the segments that have a picture, each with it."""
        return tuple((i, s.illustration) for i, s in enumerate(self.segments) if s.illustration)


def detect_language(text: str) -> Language:
    """Tells Chinese from English by the share of ideographs among the letters."""
    letters = len(_LETTER.findall(text))
    return "zh" if letters and len(_HAN.findall(text)) >= _HAN_SHARE * letters else "en"
