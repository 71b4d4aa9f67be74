"""The pipeline: a text in, events out, the article last; or an article in, and its empty spots filled.

Every stage is somebody else's; this file puts their events into an article and keeps the time. Where the indexer or the
model goes away in the middle, the words and what is chosen so far are delivered, and the rest is unfilled with the
reason.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xcomp_composer.article.events import Event, Spot, SpotIllustration, SpotQuery, StageEvent
from xcomp_composer.article.markers import remove_image_blocks
from xcomp_composer.article.model import Article, Illustration, Segment, Unfilled, detect_language
from xcomp_composer.document.blocks import Block, Kind
from xcomp_composer.document.splitting import find_title, split_blocks
from xcomp_composer.illustrate.base import (
    IllustrationOptions,
    IllustrationTask,
    Illustrator,
    places,
)
from xcomp_composer.illustrate.must_use import place_required_images
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_protos.errors import InvalidRequest, ModelError, Unavailable
from xcomp_protos.telemetry import api


@dataclass(frozen=True)
class Source:
    """A text and what is known of it."""

    text: str
    format: str = "markdown"
    seed: int = 0
    writer: str = ""  # the model that wrote it; empty: the caller brought it
    is_draft: bool = False  # that model is a small one
    seconds: Mapping[str, float] = field(default_factory=dict)  # spent so far

    @property
    def is_written(self) -> bool:
        """Whether work of ours is in it that must be delivered."""
        return bool(self.writer)


@dataclass(frozen=True)
class Setting:
    """Where the pictures come from, and who places them."""

    repository: RepositoryClient
    profile: str
    illustrator: Illustrator


@dataclass
class _Illustrated:
    """What the stages have made so far."""

    pictures: dict[int, Illustration] = field(default_factory=dict)
    unfilled: dict[int, Unfilled] = field(default_factory=dict)
    spots: list[int] = field(default_factory=list)  # segments, where places were told before pictures
    asked: dict[int, str] = field(default_factory=dict)  # queries by segment

    def add(self, event: StageEvent) -> None:
        """Notes an event."""
        match event:
            case Spot(segment):
                self.spots.append(segment)
            case SpotQuery(segment, query):
                self.asked[segment] = query
            case SpotIllustration(segment, picture):
                self.pictures[segment] = picture
                api.count("illustrations")
            case Unfilled(segment):
                self.unfilled[segment] = event
                api.count("abstentions")

    def give_up(self, segments: Sequence[int], reason: str) -> Iterator[Unfilled]:
        """Leaves these segments empty where they have neither a picture nor a reason yet."""
        for segment in segments:
            if segment not in self.pictures and segment not in self.unfilled:
                self.unfilled[segment] = Unfilled(segment, self.asked.get(segment, ""), reason, interrupted=True)
                yield self.unfilled[segment]


def language_in(text: str, format_: str = "markdown") -> str:
    """Returns the language of a text's words, code and markup left out."""
    return detect_language("".join(block.prose for block in split_blocks(text, format_)) or text)


def illustrate(source: Source, wish: IllustrationOptions, setting: Setting) -> Iterator[Event]:
    """Illustrates a text; our own pictures in it are taken out first, and no more come in than there were.

    Raises:
        InvalidRequest: the text says nothing.
        Unavailable: the indexer or the model's endpoint is away, and nothing was made that could be delivered.
        ModelError: the model failed, likewise.
    """
    started = time.monotonic()
    text, blocks_before = remove_image_blocks(source.text, source.format)
    if not text.strip("\ufeff \t\r\n"):
        raise InvalidRequest("text: is empty: there is nothing to illustrate")
    if blocks_before and wish.images is None:
        most = max(blocks_before, len(wish.must_use))
        wish = replace(wish, max_images=min(most, wish.max_images or most))
    draft = IllustrationTask(tuple(split_blocks(text, source.format)), setting.repository.conditions.language)
    made = _Illustrated()
    yield from _stages(draft, wish, setting, made, must_deliver=source.is_written)
    seconds = {**source.seconds, "illustrate": round(time.monotonic() - started, 3)}
    yield _article(draft, made, source, setting, seconds)


def fill(
    article: Article, wish: IllustrationOptions, setting: Setting
) -> tuple[Mapping[int, Illustration], tuple[Unfilled, ...]]:
    """Looks again for pictures for the empty spots of an article; returns them, and the spots that stay empty.

    What stands is in view and stays. Where the work was interrupted before the places were known, they are found now.

    Raises:
        InvalidRequest: no spot is empty.
        Unavailable, ModelError: as `illustrate`.
    """
    if not article.unfilled:
        raise InvalidRequest("fill: no spot of the article is empty")
    asked = {spot.segment: spot.query for spot in article.unfilled}
    draft = IllustrationTask(
        tuple(_block(segment.text, article.format) for segment in article.segments),
        article.language,
        standing=dict(article.illustrations),
        asked=asked,
    )
    if wish.images is None and not _is_undecided(article, draft):
        wish = replace(wish, images=len(asked))
    made = _Illustrated()
    for _ in _stages(draft, wish, setting, made, must_deliver=False):
        pass
    return made.pictures, tuple(made.unfilled[number] for number in sorted(made.unfilled))


def _is_undecided(article: Article, draft: IllustrationTask) -> bool:
    """Whether the places are not known yet: every paragraph was given up, none was asked for."""
    given_up = {spot.segment for spot in article.unfilled if spot.interrupted and not spot.query}
    return given_up >= set(places(draft.blocks)) - draft.standing.keys()


def _block(text: str, format_: str) -> Block:
    """A segment as one block; after an edit it may hold several."""
    blocks = split_blocks(text, format_)
    if len(blocks) == 1:
        return blocks[0]
    prose = " ".join(block.prose for block in blocks if block.kind is Kind.PARAGRAPH)
    return Block(Kind.PARAGRAPH if prose else Kind.OTHER, text, prose)


def _stages(
    draft: IllustrationTask, wish: IllustrationOptions, setting: Setting, made: _Illustrated, *, must_deliver: bool
) -> Iterator[StageEvent]:
    """Yields what the stages make, and notes it; gives the rest up where something was made that must not be lost."""
    around = draft
    try:
        for event in place_required_images(draft, wish, setting.repository):
            made.add(event)
            yield event
        around, made.spots = replace(draft, standing={**draft.standing, **made.pictures}), []
        rest = wish.less(len(made.pictures))
        for event in setting.illustrator.illustrate(around, rest, setting.repository):
            made.add(event)
            yield event
    except (Unavailable, ModelError) as error:
        if not (must_deliver or made.pictures or made.unfilled or made.asked):
            raise
        open_ = [number for number in places(draft.blocks) if around.is_open(number)]
        yield from made.give_up(made.spots or open_, str(error))


def _article(
    draft: IllustrationTask, made: _Illustrated, source: Source, setting: Setting, seconds: dict[str, float]
) -> Article:
    segments = tuple(Segment(block.text, made.pictures.get(number)) for number, block in enumerate(draft.blocks))
    return Article(
        title=find_title(draft.blocks, source.format),
        language=draft.language,
        model=source.writer or setting.illustrator.name,
        profile=setting.profile,
        segments=segments,
        seed=source.seed,
        unfilled=tuple(made.unfilled[number] for number in sorted(made.unfilled)),
        seconds=seconds,
        format=source.format,
        repository=setting.repository.conditions.repository,
        draft=source.is_draft,
    )
