"""Asks a model after which passages of an article it wants images.

A model that samples its answer here can only produce free passages, each once, as many as are wanted and apart from
each other. An endpoint is asked for numbers, and anything else in its answer is ignored. A spot that was wanted and not
named is reported as missing; no other rule takes the place of the model.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from xcomp_composer.document.blocks import Block, find_spots
from xcomp_composer.illustrate.base import IllustrationOptions
from xcomp_composer.model_pool.session import ModelSession

WINDOW = 48  # passages of one question; a longer article is asked about in parts of equal size
MAX_NAMED = 20  # spots of one question, so that no limit of tokens cuts the answer


@dataclass(frozen=True)
class SpotPlan:
    """Indices of passages, ascending.

    Attributes:
        named: by the model, at most as many as are wanted.
        missing: the longest of the others, for those that are wanted and were not named.
    """

    named: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()


def plan_spots(
    session: ModelSession, passages: Sequence[str], options: IllustrationOptions, *, free: Collection[int]
) -> SpotPlan:
    """Asks for as many spots as are wanted, or for those that the model finds suitable; raises like `session.say`.

    Args:
        session: with the model to ask.
        passages: the whole article.
        options: how many images are wanted.
        free: indices of the passages that may get an image; the model reads the others as well, and what it says about
            them is ignored.
    """
    limit = options.limit(len(free))
    if not limit:
        return SpotPlan()
    count = None if options.images is None else limit
    named = [index for index in _ask(session, passages, sorted(free), count=count) if index in free]
    kept = [named[i * len(named) // limit] for i in range(limit)] if len(named) > limit else named
    wanted = max(1, len(kept)) if options.images is None else limit
    others = sorted(set(free) - set(kept), key=lambda index: (-len(passages[index]), index))
    return SpotPlan(tuple(kept), tuple(sorted(others[: wanted - len(kept)])))


def _ask(session: ModelSession, passages: Sequence[str], free: Sequence[int], *, count: int | None) -> Iterator[int]:
    """Asks window by window, in each for the share of its free passages."""
    windows = max(math.ceil(len(passages) / WINDOW), math.ceil((count or 0) / MAX_NAMED))
    before = 0
    for window in range(windows):
        start, end = (len(passages) * edge // windows for edge in (window, window + 1))
        here = [index - start for index in free if start <= index < end]
        share = (
            None if count is None else _share(count, before + len(here), len(free)) - _share(count, before, len(free))
        )
        before += len(here)
        if here and share != 0:
            yield from (start + index for index in _ask_window(session, passages[start:end], here, share))


def _ask_window(
    session: ModelSession, passages: Sequence[str], free: Sequence[int], count: int | None
) -> tuple[int, ...]:
    grammar = session.model.prompts.spot_grammar(free, count=count, apart=_min_distance(len(free), count))
    # Without a grammar, the model may name passages that are not free as well.
    asked = count if grammar or count is None else count + len(passages) - len(free)
    answer = session.say(lambda prompts: prompts.spot(passages, count=asked), "spot", grammar=grammar)
    return session.model.prompts.parse_spots(answer, sections=len(passages))


def _share(count: int, part: int, whole: int) -> int:
    return (2 * count * part + whole) // (2 * whole)  # to the nearest


def _min_distance(free: int, count: int | None) -> int:
    """Returns the least distance of two spots: each excludes `2 * distance - 1`, and the last one must find one."""
    return (free // count + 1) // 2 if count else 1


@dataclass(frozen=True)
class Passage:
    """The text since the last spot, and the segment after which an image may come."""

    segment: int
    text: str


def split_passages(blocks: Sequence[Block]) -> tuple[Passage, ...]:
    """Cuts an article at its spots; text after the last one belongs to no passage."""
    ends = find_spots(blocks)
    starts = [0, *(end + 1 for end in ends)]
    return tuple(
        Passage(end, "\n".join(block.prose for block in blocks[start : end + 1] if block.prose))
        for start, end in zip(starts, ends, strict=False)
    )
