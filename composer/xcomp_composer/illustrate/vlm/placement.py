"""After which passages of an article a model wants pictures.

A model that draws its answer here can draw nothing but free passages, each once, as many as are wanted and apart from
each other. Another is asked for numbers, and whatever else it answers counts for nothing. A place that was wanted and
not named is reported as missing; nobody guesses in the model's stead.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from xcomp_composer.document.blocks import Block
from xcomp_composer.illustrate.base import (
    IllustrationOptions,
    places,
)
from xcomp_composer.model_pool.session import ModelSession

WINDOW = 48  # passages in view of one question; a longer article is asked about in parts of equal size
NAMED = 20  # places that are asked for at once, so that no model's bound of tokens cuts the answer


@dataclass(frozen=True)
class Plan:
    """Numbers of passages, ascending.

    Attributes:
        named: by the model, as many as are wanted at most.
        missing: the longest of the others, for what is wanted and was not named.
    """

    named: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()


def plan(model: ModelSession, passages: Sequence[str], wish: IllustrationOptions, *, free: Collection[int]) -> Plan:
    """Asks for as many places as are wanted, or for those that the model finds fit; raises like a consultation.

    Args:
        model: whom to ask.
        passages: the whole article.
        wish: how many pictures are wanted.
        free: numbers of the passages that may get one; the model reads the others, and whatever it says of them is
            passed over.
    """
    limit = wish.limit(len(free))
    if not limit:
        return Plan()
    count = None if wish.images is None else limit
    named = [number for number in _named(model, passages, sorted(free), count=count) if number in free]
    kept = [named[i * len(named) // limit] for i in range(limit)] if len(named) > limit else named
    wanted = max(1, len(kept)) if wish.images is None else limit
    others = sorted(set(free) - set(kept), key=lambda number: (-len(passages[number]), number))
    return Plan(tuple(kept), tuple(sorted(others[: wanted - len(kept)])))


def _named(model: ModelSession, passages: Sequence[str], free: Sequence[int], *, count: int | None) -> Iterator[int]:
    """Asks window by window, in each for the share of its free passages."""
    windows = max(math.ceil(len(passages) / WINDOW), math.ceil((count or 0) / NAMED))
    before = 0
    for window in range(windows):
        start, end = (len(passages) * edge // windows for edge in (window, window + 1))
        here = [number - start for number in free if start <= number < end]
        share = (
            None if count is None else _share(count, before + len(here), len(free)) - _share(count, before, len(free))
        )
        before += len(here)
        if here and share != 0:
            yield from (start + number for number in _answer(model, passages[start:end], here, share))


def _answer(model: ModelSession, passages: Sequence[str], free: Sequence[int], count: int | None) -> tuple[int, ...]:
    form = model.model.prompts.spot_grammar(free, count=count, apart=_apart(len(free), count))
    asked = count if form or count is None else count + len(passages) - len(free)  # others may be named as well
    said = model.say(lambda prompts: prompts.spot(passages, count=asked), "spot", grammar=form)
    return model.model.prompts.parse_spots(said, sections=len(passages))


def _share(count: int, part: int, whole: int) -> int:
    return (2 * count * part + whole) // (2 * whole)  # to the nearest


def _apart(free: int, count: int | None) -> int:
    """The least distance of two places; each rules `2 * distance - 1` out, so that the last still finds one."""
    return (free // count + 1) // 2 if count else 1


@dataclass(frozen=True)
class Passage:
    """The words since the last place, and the segment after which a picture may stand."""

    segment: int
    text: str


def passages(blocks: Sequence[Block]) -> tuple[Passage, ...]:
    """Cuts an article at its places; words after the last one belong to none."""
    ends = places(blocks)
    starts = [0, *(end + 1 for end in ends)]
    return tuple(
        Passage(end, "\n".join(block.prose for block in blocks[start : end + 1] if block.prose))
        for start, end in zip(starts, ends, strict=False)
    )
