"""Fits the certainty from which a candidate is chosen to the choices of people.

A right image gains 1, a wrong one loses 1, no image gains 0; the best threshold gains most. Cross-validation shows how
much of the gain is chance: each fold is judged by a threshold that was fitted without it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from xcomp_cli.evaluation.figures import Estimate, estimate
from xcomp_cli.output.console import Json

FOLDS = 5
LEAST = 20  # fewer labelled choices give only a hint


@dataclass(frozen=True)
class JudgedChoice:
    """A choice that a person has judged: its certainty, and whether its best candidate is the person's pick."""

    certainty: float
    is_right: bool


@dataclass(frozen=True)
class ThresholdFit:
    """A threshold, and its gain per choice.

    Attributes:
        fitted: gain on choices that the threshold was not fitted to.
        now: gain of the threshold in use.
        always: gain without a threshold.
        spread: lowest and highest threshold among the folds.
    """

    threshold: float
    used: float
    fitted: Estimate
    now: Estimate
    always: Estimate
    spread: tuple[float, float]

    def to_json(self) -> dict[str, Json]:
        """Returns the fit as a JSON object."""
        return {
            "suggested": self.threshold,
            "used": self.used,
            "gain": {
                "suggested": self.fitted.to_json(),
                "used": self.now.to_json(),
                "always": self.always.to_json(),
            },
            "folds": {"count": FOLDS, "lowest": self.spread[0], "highest": self.spread[1]},
        }


def fit(judged: Sequence[JudgedChoice], *, used: float, seed: int) -> ThresholdFit | None:
    """Fits a threshold of certainty, 0..1, to judged choices; returns None if there are fewer than folds."""
    if len(judged) < FOLDS:
        return None
    shuffled = list(judged)
    random.Random(seed).shuffle(shuffled)  # noqa: S311  # folds are no secrets
    gains: list[float] = []
    thresholds: list[float] = []
    for fold in range(FOLDS):
        held_out = shuffled[fold::FOLDS]
        thresholds.append(_best_threshold([each for at, each in enumerate(shuffled) if at % FOLDS != fold]))
        gains += [_gain(each, thresholds[-1]) for each in held_out]
    return ThresholdFit(
        _best_threshold(judged),
        used,
        estimate(gains, seed=seed),
        estimate([_gain(each, used) for each in judged], seed=seed),
        estimate([_gain(each, 0.0) for each in judged], seed=seed),
        (min(thresholds), max(thresholds)),
    )


def _best_threshold(judged: Sequence[JudgedChoice]) -> float:
    """Returns the lowest threshold with the largest gain, halfway between the choices around it."""
    ranked = sorted(judged, key=lambda each: each.certainty)
    gain = sum(_gain(each, 0.0) for each in ranked)
    best, threshold = gain, 0.0
    for at, each in enumerate(ranked):
        gain -= 1.0 if each.is_right else -1.0  # this choice is now below the threshold
        above = ranked[at + 1].certainty if at + 1 < len(ranked) else 1.0
        if gain > best and above > each.certainty:
            best, threshold = gain, (each.certainty + above) / 2
    return threshold


def _gain(judged: JudgedChoice, threshold: float) -> float:
    if judged.certainty < threshold:
        return 0.0
    return 1.0 if judged.is_right else -1.0
