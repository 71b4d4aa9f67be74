"""Means with bootstrap intervals, and differences of two procedures on the same items.

The same seed gives the same intervals.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from xcomp_cli.output.console import Json

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its percentile bootstrap interval (Efron 1979).

    Attributes:
        count: number of observations; without any, all values are 0.
    """

    mean: float
    low: float
    high: float
    count: int

    def to_json(self) -> dict[str, Json]:
        """Returns the estimate as a JSON object."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "count": self.count}


def estimate(values: Sequence[float], *, seed: int) -> Estimate:
    """Returns the mean of values and the interval that contains the mean of 95 in 100 resamples."""
    if not values:
        return Estimate(0.0, 0.0, 0.0, 0)
    draw = random.Random(seed)  # noqa: S311  # resamples are no secrets
    count = len(values)
    means = sorted(sum(draw.choices(values, k=count)) / count for _ in range(RESAMPLES))
    tail = round((1 - LEVEL) / 2 * RESAMPLES)
    return Estimate(sum(values) / count, means[tail], means[-tail - 1], count)


def difference(ones: Sequence[float], others: Sequence[float], *, seed: int) -> Estimate:
    """Returns the mean of the differences item by item; resamples pairs, not each side alone."""
    return estimate([one - other for one, other in zip(ones, others, strict=True)], seed=seed)
