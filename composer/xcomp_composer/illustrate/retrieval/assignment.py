"""Assigns images to spots: each spot gets at most one image, each image at most one spot, and the sum is the largest.

Values are what a choice gains over leaving the spot empty; a choice that gains nothing is never made. This file depends
on numbers only.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypeAlias

STEP = 0.005  # by which bids rise; the sum of values is within this times the spots of the largest one
NEIGHBORS = 0.25  # what an image must gain more if the paragraph before it has one as well

_Taken: TypeAlias = "tuple[float, tuple[_Taken, int] | None]"  # value of the spots taken; the last one and those before


def assign(values: Sequence[Mapping[str, float]]) -> list[str | None]:
    """Returns an image for each spot, so that the sum of values is the largest; None if a spot stays empty.

    Spots bid for images until none wants another one (the auction algorithm of Bertsekas 1979).

    Args:
        values: for each spot, the value of each image that it may have.
    """
    prices: dict[str, float] = {}
    owners: dict[str, int] = {}
    bidders = deque(range(len(values)))
    while bidders:
        spot = bidders.popleft()
        gains = sorted(((value - prices.get(image, 0.0), image) for image, value in values[spot].items()))
        if not gains or gains[-1][0] <= 0:
            continue
        gain, image = gains[-1]
        second = max(gains[-2][0], 0.0) if len(gains) > 1 else 0.0
        prices[image] = prices.get(image, 0.0) + gain - second + STEP
        if image in owners:
            bidders.append(owners[image])
        owners[image] = spot
    images = {spot: image for image, spot in owners.items()}
    return [images.get(spot) for spot in range(len(values))]


def select_spots(values: Sequence[float], positions: Sequence[int], limit: int) -> list[int]:
    """Returns the indices of at most `limit` spots with the largest sum of values; neighbors only if they gain enough.

    Args:
        values: of each spot, in the order of the text; only spots above 0 are selected.
        positions: index of each spot's paragraph among the paragraphs.
        limit: most spots to select.
    """
    nothing: _Taken = (0.0, None)
    # By count: the best selection that ends before the last spot, and the best one that ends with it.
    apart, beside = {0: nothing}, dict[int, _Taken]()
    last = -2
    for index, (value, position) in enumerate(zip(values, positions, strict=True)):
        if value <= 0:
            continue
        if position - last > 1:
            apart, beside = _merge_best(apart, beside), {}
        extended = _merge_best(_extend(apart, index, value), _extend(beside, index, value - NEIGHBORS))
        apart, last = _merge_best(apart, beside), position
        beside = {count: taken for count, taken in extended.items() if count <= limit}
    return _list_indices(max(_merge_best(apart, beside).values(), key=lambda taken: taken[0]))


def _extend(taken: Mapping[int, _Taken], index: int, value: float) -> dict[int, _Taken]:
    return {count + 1: (each[0] + value, (each, index)) for count, each in taken.items()}


def _merge_best(one: Mapping[int, _Taken], other: Mapping[int, _Taken]) -> dict[int, _Taken]:
    """Returns the better selection for each count; the first one if they are equal."""
    return {**one, **{count: each for count, each in other.items() if count not in one or each[0] > one[count][0]}}


def _list_indices(taken: _Taken) -> list[int]:
    indices = []
    while taken[1]:
        taken, index = taken[1]
        indices.append(index)
    return indices[::-1]
