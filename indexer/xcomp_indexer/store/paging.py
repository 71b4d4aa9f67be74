"""Orders results in the same way on every engine: best first, equal scores by id.

Engines sum in different orders and cut equal scores at random. Scores are therefore rounded, and where a page would
end between equal scores, more results are fetched. Copies of an image are common, and a page must be stable.
"""

import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Protocol, TypeVar

from xcomp_indexer.store import ScoredPoint, VectorQuery

_DECIMALS = 6  # float32 sums of unit vectors agree to about 1e-7
_MARGIN = 8  # fetched beyond the cut, so that a few equal scores need no second fetch


class Scored(Protocol):
    """A result of an engine."""

    @property
    def score(self) -> float:
        """Cosine similarity, not rounded."""


Result = TypeVar("Result", bound=Scored)


def round_score(score: float) -> float:
    """Round a score as the store returns it."""
    return round(score, _DECIMALS)


def threshold(near: VectorQuery) -> float | None:
    """Return the least score to ask an engine for: rounding can lift a score over the threshold."""
    return None if near.score_threshold is None else near.score_threshold - 10**-_DECIMALS


def reach(near: VectorQuery) -> int:
    """Return the number of results to fetch first."""
    return near.offset + near.limit + (_MARGIN if near.stable_order else 0)


def page(
    near: VectorQuery,
    found: Sequence[Result],
    *,
    fetch: Callable[[int], Sequence[Result]],
    read: Callable[[Result, float], ScoredPoint],
) -> list[ScoredPoint]:
    """Return the page that `near` asks for, out of the first `reach(near)` results of an engine.

    Args:
        near: the search.
        found: what the engine returned first, best first.
        fetch: asks the engine again for that many results.
        read: converts a result with its rounded score; called only for results that may be on the page, since it
            costs as much as finding them.
    """
    if not near.limit:
        return []
    end, take = near.offset + near.limit, reach(near)
    while (
        near.stable_order and len(found) >= take and round_score(found[-1].score) == round_score(found[end - 1].score)
    ):
        take *= 2
        found = fetch(take)
    least = round_score(found[end - 1].score) if len(found) >= end else -math.inf
    scores = takewhile(lambda score: score >= least, (round_score(each.score) for each in found))
    candidates = list(map(read, found, scores))
    ordered = sorted(candidates, key=lambda each: (-each.score, each.id))[near.offset : end]
    return [each for each in ordered if near.score_threshold is None or each.score >= near.score_threshold]
