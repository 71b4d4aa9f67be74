"""The pipeline: from a text to events, the article last; or from an article to images for its empty spots.

The pipeline calls the stages, collects their events into an article, and measures the time. If the indexer or the model
becomes unavailable on the way, it delivers the text and what is chosen so far, and reports the other spots as unfilled
with the reason.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xcomp_composer.article.events import Event, Spot, SpotIllustration, SpotQuery, StageEvent
from xcomp_composer.article.markers import remove_image_blocks
from xcomp_composer.article.model import Article, Illustration, Segment, Unfilled, detect_language
from xcomp_composer.document.blocks import Block, Kind, find_spots
from xcomp_composer.document.splitting import find_title, split_blocks
from xcomp_composer.illustrate.base import (
    IllustrationOptions,
    IllustrationTask,
    Illustrator,
)
from xcomp_composer.illustrate.must_use import place_required_images
from xcomp_composer.indexer_client.repository import RepositoryClient
from xcomp_protos.errors import InvalidRequest, ModelError, Unavailable
from xcomp_protos.telemetry import api


@dataclass(frozen=True)
class Source:
    """A text, and what is known about it."""

    text: str
    format: str = "markdown"
    seed: int = 0
    writer: str = ""  # the model that wrote it; empty: it came with the request
    is_draft: bool = False  # the model is a small one
    seconds: Mapping[str, float] = field(default_factory=dict)  # spent so far

    @property
    def is_written(self) -> bool:
        """Whether a model wrote it, so that it must be delivered."""
        return bool(self.writer)


@dataclass(frozen=True)
class Setting:
    """Where the images come from, and what places them."""

    repository: RepositoryClient
    illustrator: Illustrator


@dataclass
class _Progress:
    """What the stages have produced so far."""

    images: dict[int, Illustration] = field(default_factory=dict)
    unfilled: dict[int, Unfilled] = field(default_factory=dict)
    spots: list[int] = field(default_factory=list)  # segments, if the illustrator names spots before images
    queries: dict[int, str] = field(default_factory=dict)  # by segment

    def add(self, event: StageEvent) -> None:
        """Records an event."""
        match event:
            case Spot(segment):
                self.spots.append(segment)
            case SpotQuery(segment, query):
                self.queries[segment] = query
            case SpotIllustration(segment, image):
                self.images[segment] = image
                api.count("illustrations")
            case Unfilled(segment):
                self.unfilled[segment] = event
                api.count("abstentions")

    def give_up(self, segments: Sequence[int], reason: str) -> Iterator[Unfilled]:
        """Reports these segments as unfilled, unless they have an image or a reason already."""
        for segment in segments:
            if segment not in self.images and segment not in self.unfilled:
                self.unfilled[segment] = Unfilled(segment, self.queries.get(segment, ""), reason, interrupted=True)
                yield self.unfilled[segment]


def detect_prose_language(text: str, format_: str = "markdown") -> str:
    """Returns the language of a text without its code and markup."""
    return detect_language("".join(block.prose for block in split_blocks(text, format_)) or text)


def illustrate(source: Source, options: IllustrationOptions, setting: Setting) -> Iterator[Event]:
    """Illustrates a text. Images of ours in it are taken out first, and no more are placed than there were.

    Raises:
        InvalidRequest: the text is empty.
        Unavailable: the indexer or the endpoint of the model does not answer, and there is nothing to deliver.
        ModelError: the model failed, and there is nothing to deliver.
    """
    started = time.monotonic()
    text, blocks_before = remove_image_blocks(source.text, source.format)
    if not text.strip("\ufeff \t\r\n"):
        raise InvalidRequest("text: is empty: there is nothing to illustrate")
    if blocks_before and options.images is None:
        most = max(blocks_before, len(options.must_use))
        options = replace(options, max_images=min(most, options.max_images or most))
    task = IllustrationTask(tuple(split_blocks(text, source.format)), setting.repository.conditions.language)
    progress = _Progress()
    yield from _run_stages(task, options, setting, progress, must_deliver=source.is_written)
    seconds = {**source.seconds, "illustrate": round(time.monotonic() - started, 3)}
    yield _build_article(task, progress, source, setting, seconds)


def fill(
    article: Article, options: IllustrationOptions, setting: Setting
) -> tuple[Mapping[int, Illustration], tuple[Unfilled, ...]]:
    """Searches again for images for the empty spots of an article; returns them, and the spots that stay empty.

    Images of the article stay where they are, and the model sees them. If the work was interrupted before the spots
    were known, the illustrator finds them now.

    Raises:
        InvalidRequest: no spot is empty.
        Unavailable, ModelError: like `illustrate`.
    """
    if not article.unfilled:
        raise InvalidRequest("fill: no spot of the article is empty")
    queries = {spot.segment: spot.query for spot in article.unfilled}
    task = IllustrationTask(
        tuple(_block(segment.text, article.format) for segment in article.segments),
        article.language,
        existing=dict(article.illustrations),
        queries=queries,
    )
    if options.images is None and not _is_undecided(article, task):
        options = replace(options, images=len(queries))
    progress = _Progress()
    for _ in _run_stages(task, options, setting, progress, must_deliver=False):
        pass
    return progress.images, tuple(progress.unfilled[number] for number in sorted(progress.unfilled))


def _is_undecided(article: Article, task: IllustrationTask) -> bool:
    """Whether the spots are not known yet: every paragraph was given up, and none has a query."""
    given_up = {spot.segment for spot in article.unfilled if spot.interrupted and not spot.query}
    return given_up >= set(find_spots(task.blocks)) - task.existing.keys()


def _block(text: str, format_: str) -> Block:
    """Returns a segment as one block; after an edit it may hold several."""
    blocks = split_blocks(text, format_)
    if len(blocks) == 1:
        return blocks[0]
    prose = " ".join(block.prose for block in blocks if block.kind is Kind.PARAGRAPH)
    return Block(Kind.PARAGRAPH if prose else Kind.OTHER, text, prose)


def _run_stages(
    task: IllustrationTask,
    options: IllustrationOptions,
    setting: Setting,
    progress: _Progress,
    *,
    must_deliver: bool,
) -> Iterator[StageEvent]:
    """Yields the events of the stages and records them; gives up the rest if something must be delivered."""
    current = task
    try:
        for event in place_required_images(task, options, setting.repository):
            progress.add(event)
            yield event
        current, progress.spots = replace(task, existing={**task.existing, **progress.images}), []
        rest = options.reduce_by(len(progress.images))
        for event in setting.illustrator.illustrate(current, rest, setting.repository):
            progress.add(event)
            yield event
    except (Unavailable, ModelError) as error:
        if not (must_deliver or progress.images or progress.unfilled or progress.queries):
            raise
        yield from progress.give_up(progress.spots or current.open_spots(), str(error))


def _build_article(
    task: IllustrationTask, progress: _Progress, source: Source, setting: Setting, seconds: dict[str, float]
) -> Article:
    return Article(
        title=find_title(task.blocks, source.format),
        language=task.language,
        model=source.writer or setting.illustrator.name,
        profile=setting.repository.profile,
        segments=tuple(Segment(block.text, progress.images.get(number)) for number, block in enumerate(task.blocks)),
        seed=source.seed,
        unfilled=tuple(progress.unfilled[number] for number in sorted(progress.unfilled)),
        seconds=seconds,
        format=source.format,
        repository=setting.repository.conditions.repository,
        draft=source.is_draft,
    )
