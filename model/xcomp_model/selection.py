"""Chooses from any number of images with a model that was trained to choose from a few.

Candidates compete in small groups, and the winners of the groups compete again until one is left. If the two best of a
group are close, the group is shown a second time in reverse order, because a letter or a position in the list may have
decided. A budget limits how many tokens these second readings may take.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from xcomp_model.base import (
    LETTERS,
    CancelCheck,
    Choice,
    ImagePart,
    ModelFailure,
    Section,
    VisionLanguageModel,
    never,
)

CLOSE = 0.2  # provisional: if the best candidate leads by less, the group is shown again
EXTRA = 0.3  # tokens of all second readings, as a share of the tokens of all first ones


@dataclass
class Allowance:
    """Tokens that the choices of one article have read: in first readings, and in second ones."""

    first: int = 0
    second: int = 0

    def add(self, tokens: int) -> None:
        """Counts a first reading."""
        self.first += tokens

    def try_repeat(self, tokens: int) -> bool:
        """Counts a second reading if the budget has room for it; returns whether it has."""
        has_room = self.second + tokens <= EXTRA * self.first
        self.second += tokens if has_room else 0
        return has_room


def select(
    model: VisionLanguageModel,
    sections: Sequence[Section],
    candidates: Sequence[ImagePart],
    *,
    allowance: Allowance | None = None,
    is_cancelled: CancelCheck = never,
) -> Choice:
    """Returns how likely each candidate is to belong after the last section.

    A candidate's probability is the probability that its group's winner wins the later rounds, divided within the group
    by the group's own probabilities. The mass is the smallest of all rounds.
    """
    if not candidates:
        raise ModelFailure("there is nothing to choose from: offer at least one candidate")
    allowance = Allowance() if allowance is None else allowance
    groups = _split_into_groups(candidates, most=model.prompts.candidates_at_once)
    choices = [_choose_in_group(model, sections, group, allowance, is_cancelled) for group in groups]
    if len(choices) == 1:
        return choices[0]
    winners = [group[_best_index(choice)] for group, choice in zip(groups, choices, strict=True)]
    final = select(model, sections, winners, allowance=allowance, is_cancelled=is_cancelled)
    shares = [
        share * won for choice, won in zip(choices, final.probabilities, strict=True) for share in choice.probabilities
    ]
    rounds = [final, *choices]
    return Choice(
        tuple(shares),
        mass=min(each.mass for each in rounds),
        orders=max(each.orders for each in rounds),
        flipped=any(each.flipped for each in rounds),
    )


def _choose_in_group(
    model: VisionLanguageModel,
    sections: Sequence[Section],
    group: Sequence[ImagePart],
    allowance: Allowance,
    is_cancelled: CancelCheck,
) -> Choice:
    if len(group) == 1:
        return Choice((1.0,), mass=1.0, orders=0)  # no model is asked
    letters = LETTERS[: len(group)]
    prompt = model.prompts.choose(sections, group)
    tokens = model.count_tokens(prompt)
    allowance.add(tokens)
    choice = model.choose(prompt, letters, is_cancelled=is_cancelled)
    if _lead(choice) >= CLOSE or not allowance.try_repeat(tokens):
        return choice
    again = model.choose(model.prompts.choose(sections, group[::-1]), letters, is_cancelled=is_cancelled)
    return _average(choice, Choice(again.probabilities[::-1], again.mass))


def _average(one: Choice, other: Choice) -> Choice:
    shares = tuple((a + b) / 2 for a, b in zip(one.probabilities, other.probabilities, strict=True))
    return Choice(shares, min(one.mass, other.mass), orders=2, flipped=_best_index(one) != _best_index(other))


def _lead(choice: Choice) -> float:
    second, first = sorted(choice.probabilities)[-2:]
    return first - second


def _split_into_groups(candidates: Sequence[ImagePart], *, most: int) -> list[Sequence[ImagePart]]:
    """Splits into as few groups as possible, of sizes as equal as possible."""
    count = -(-len(candidates) // most)
    bounds = [i * len(candidates) // count for i in range(count + 1)]
    return [candidates[a:b] for a, b in pairwise(bounds)]


def _best_index(choice: Choice) -> int:
    return max(range(len(choice.probabilities)), key=choice.probabilities.__getitem__)
