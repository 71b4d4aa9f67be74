"""Choosing from any number of pictures with a model that was trained to choose from a few.

The one idea: rounds. Every candidate stands in one small group; the groups' winners meet again, until one is left.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from xcomp_model.base import Choice, ModelError, Picture, Section, VisionLanguageModel, never

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def select(
    model: VisionLanguageModel,
    sections: Sequence[Section],
    candidates: Sequence[Picture],
    *,
    cancelled: Callable[[], bool] = never,
) -> Choice:
    """Says how likely each candidate is to belong after the last section.

    A candidate's probability is that of its group's winner to win the rounds after, shared out by the group's own
    probabilities; the mass is the smallest of all rounds.
    """
    if not candidates:
        raise ModelError("there is nothing to choose from: offer at least one candidate")
    groups = _groups(candidates, most=model.prompts.candidates_at_once)
    heats = [_heat(model, sections, group, cancelled) for group in groups]
    if len(heats) == 1:
        return heats[0]
    winners = [group[_best(heat)] for group, heat in zip(groups, heats, strict=True)]
    final = select(model, sections, winners, cancelled=cancelled)
    shares = [share * won for heat, won in zip(heats, final.probabilities, strict=True) for share in heat.probabilities]
    return Choice(tuple(shares), mass=min(final.mass, *(heat.mass for heat in heats)))


def _heat(
    model: VisionLanguageModel, sections: Sequence[Section], group: Sequence[Picture], cancelled: Callable[[], bool]
) -> Choice:
    if len(group) == 1:
        return Choice((1.0,), mass=1.0)  # nobody to choose from
    return model.choose(model.prompts.choose(sections, group), LETTERS[: len(group)], cancelled=cancelled)


def _groups(candidates: Sequence[Picture], *, most: int) -> list[Sequence[Picture]]:
    """Cuts into as few groups as can be, of sizes as equal as can be."""
    count = -(-len(candidates) // most)
    bounds = [i * len(candidates) // count for i in range(count + 1)]
    return [candidates[a:b] for a, b in pairwise(bounds)]


def _best(choice: Choice) -> int:
    return max(range(len(choice.probabilities)), key=choice.probabilities.__getitem__)
