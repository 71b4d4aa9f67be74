"""After which passages of an article a model wants pictures.

It is asked for numbers of passages, and whatever else it answers counts for nothing. A place that was wanted and not
named is reported as missing; nobody guesses in the model's stead.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from xcomp_composer.consult import Consultation
from xcomp_composer.stage import Wish

WINDOW = 48  # passages in view of one question; a longer article is asked about in parts of equal size


@dataclass(frozen=True)
class Plan:
    """Numbers of passages, ascending.

    Attributes:
        named: by the model, as many as are wanted at most.
        missing: the longest of the others, for what is wanted and was not named.
    """

    named: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()


def plan(model: Consultation, passages: Sequence[str], wish: Wish, *, free: Collection[int]) -> Plan:
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
    taken = len(passages) - len(free)
    count = None if wish.images is None else min(limit + taken, len(passages))
    named = [number for number in _named(model, passages, count=count) if number in free]
    kept = [named[i * len(named) // limit] for i in range(limit)] if len(named) > limit else named
    wanted = max(1, len(kept)) if wish.images is None else limit
    others = sorted(set(free) - set(kept), key=lambda number: (-len(passages[number]), number))
    return Plan(tuple(kept), tuple(sorted(others[: wanted - len(kept)])))


def _named(model: Consultation, passages: Sequence[str], *, count: int | None) -> Iterator[int]:
    windows = math.ceil(len(passages) / WINDOW)
    for window in range(windows):
        start, end = (len(passages) * edge // windows for edge in (window, window + 1))
        share = None if count is None else count * (window + 1) // windows - count * window // windows
        if share != 0:
            yield from (start + number for number in _answer(model, passages[start:end], share))


def _answer(model: Consultation, passages: Sequence[str], count: int | None) -> tuple[int, ...]:
    said = model.say(lambda prompts: prompts.spot(passages, count=count), "spot")
    return model.model.prompts.spots_in(said, sections=len(passages))
