"""Which picture goes where: every spot at most one, every picture at most once, the whole as good as it can be.

Values are what a choice gains over leaving the spot empty; nothing that gains nothing is ever chosen. This file knows
numbers only.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypeAlias

STEP = 0.005  # by which bids rise; the sum of values is within this times the spots of the best there is
NEIGHBOURS = 0.25  # what a picture must gain more where the paragraph before it has one as well

_Taken: TypeAlias = "tuple[float, tuple[_Taken, int] | None]"  # value of the spots taken, and the last one after which


def assign(values: Sequence[Mapping[str, float]]) -> list[str | None]:
    """Returns for each spot its picture, such that the sum of values is the largest; None where a spot stays empty.

    Spots bid for pictures until nobody wants another one (the auction algorithm of Bertsekas 1979).

    Args:
        values: for each spot, the value of each picture it may have.
    """
    prices: dict[str, float] = {}
    owners: dict[str, int] = {}
    bidders = deque(range(len(values)))
    while bidders:
        spot = bidders.popleft()
        gains = sorted(((value - prices.get(picture, 0.0), picture) for picture, value in values[spot].items()))
        if not gains or gains[-1][0] <= 0:
            continue
        gain, picture = gains[-1]
        second = max(gains[-2][0], 0.0) if len(gains) > 1 else 0.0
        prices[picture] = prices.get(picture, 0.0) + gain - second + STEP
        if picture in owners:
            bidders.append(owners[picture])
        owners[picture] = spot
    pictures = {spot: picture for picture, spot in owners.items()}
    return [pictures.get(spot) for spot in range(len(values))]


def spread(values: Sequence[float], positions: Sequence[int], limit: int) -> list[int]:
    """Returns the indices of at most `limit` spots of largest value, neighbours only where they gain enough.

    Args:
        values: of each spot, in the order of the text; only those above 0 are taken.
        positions: number of each spot's paragraph among the paragraphs.
    """
    none: _Taken = (0.0, None)
    apart, beside = {0: none}, dict[int, _Taken]()  # by count: the best that ends before the last spot, and at it
    last = -2
    for index, (value, position) in enumerate(zip(values, positions, strict=True)):
        if value <= 0:
            continue
        if position - last > 1:
            apart, beside = _better(apart, beside), {}
        gained = _better(_with(apart, index, value), _with(beside, index, value - NEIGHBOURS))
        apart, last = _better(apart, beside), position
        beside = {count: taken for count, taken in gained.items() if count <= limit}
    return _indices(max(_better(apart, beside).values(), key=lambda taken: taken[0]))


def _with(taken: Mapping[int, _Taken], index: int, value: float) -> dict[int, _Taken]:
    return {count + 1: (each[0] + value, (each, index)) for count, each in taken.items()}


def _better(one: Mapping[int, _Taken], other: Mapping[int, _Taken]) -> dict[int, _Taken]:
    """The better of both for each count; the first where they are equal."""
    return {**one, **{count: each for count, each in other.items() if count not in one or each[0] > one[count][0]}}


def _indices(taken: _Taken) -> list[int]:
    found = []
    while taken[1]:
        taken, index = taken[1]
        found.append(index)
    return found[::-1]
