"""The order of results: best first, equal scores by id, the same on every engine.

Engines sum in different orders and cut equal scores at random. So scores are rounded, and where a cut would fall
between equal ones more is fetched until it does not: copies of a picture are common, and a page must stay put.
"""

import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Protocol, TypeVar

from xcomp_indexer.store import ScoredPoint, VectorQuery

_DECIMALS = 6  # float32 sums of unit vectors agree to about 1e-7
_MARGIN = 8  # fetched beyond the cut, so that a few equal scores need no second fetch


class Scored(Protocol):
    """A result as an engine gives it."""

    @property
    def score(self) -> float:
        """Cosine similarity, not rounded."""


Result = TypeVar("Result", bound=Scored)


def rounded(score: float) -> float:
    """Returns a score as the store gives it out."""
    return round(score, _DECIMALS)


def threshold(near: VectorQuery) -> float | None:
    """Returns the least score to ask an engine for: rounding may lift a score over the minimum."""
    return None if near.score_threshold is None else near.score_threshold - 10**-_DECIMALS


def reach(near: VectorQuery) -> int:
    """Returns how many results to fetch first."""
    return near.offset + near.limit + (_MARGIN if near.stable_order else 0)


def page(
    near: VectorQuery,
    found: Sequence[Result],
    *,
    fetch: Callable[[int], Sequence[Result]],
    read: Callable[[Result, float], ScoredPoint],
) -> list[ScoredPoint]:
    """Cuts the page that `near` asks for out of the first `reach(near)` results of an engine.

    Args:
        near: the search.
        found: what the engine returned first, best first.
        fetch: asks the engine again for that many results.
        read: makes a result with its rounded score ours; only of those that may be on the page, since it costs as
            much as finding them.
    """
    if not near.limit:
        return []
    end, take = near.offset + near.limit, reach(near)
    while near.stable_order and len(found) >= take and rounded(found[-1].score) == rounded(found[end - 1].score):
        take *= 2
        found = fetch(take)
    least = rounded(found[end - 1].score) if len(found) >= end else -math.inf
    scores = takewhile(lambda score: score >= least, (rounded(each.score) for each in found))
    candidates = list(map(read, found, scores))
    ordered = sorted(candidates, key=lambda each: (-each.score, each.id))[near.offset : end]
    return [each for each in ordered if near.score_threshold is None or each.score >= near.score_threshold]
