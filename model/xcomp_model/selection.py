"""Choosing from any number of pictures with a model that was trained to choose from a few.

Two ideas. Rounds: every candidate stands in one small group; the groups' winners meet again, until one is left. And a
second look: where the two best are close, the group is shown once more in the reverse order, since a letter or a place
in a list may be what tipped the balance; how much may be read for that is bounded beforehand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from xcomp_model.base import Choice, ModelError, Picture, Section, VisionLanguageModel, never

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CLOSE = 0.2  # provisional: a smaller lead of the best candidate is asked about again
EXTRA = 0.3  # of the tokens of all first looks, which the second looks together may take


@dataclass
class Allowance:
    """What the choices of one article have read: tokens of first looks, and of second ones."""

    first: int = 0
    second: int = 0

    def look(self, tokens: int) -> None:
        """Notes a first look."""
        self.first += tokens

    def look_again(self, tokens: int) -> bool:
        """Notes a second look where there is room for it; says whether there is."""
        has_room = self.second + tokens <= EXTRA * self.first
        self.second += tokens if has_room else 0
        return has_room


def select(
    model: VisionLanguageModel,
    sections: Sequence[Section],
    candidates: Sequence[Picture],
    *,
    allowance: Allowance | None = None,
    cancelled: Callable[[], bool] = never,
) -> Choice:
    """Says how likely each candidate is to belong after the last section.

    A candidate's probability is that of its group's winner to win the rounds after, shared out by the group's own
    probabilities; the mass is the smallest of all rounds.
    """
    if not candidates:
        raise ModelError("there is nothing to choose from: offer at least one candidate")
    allowance = Allowance() if allowance is None else allowance
    groups = _groups(candidates, most=model.prompts.candidates_at_once)
    heats = [_heat(model, sections, group, allowance, cancelled) for group in groups]
    if len(heats) == 1:
        return heats[0]
    winners = [group[_best(heat)] for group, heat in zip(groups, heats, strict=True)]
    final = select(model, sections, winners, allowance=allowance, cancelled=cancelled)
    shares = [share * won for heat, won in zip(heats, final.probabilities, strict=True) for share in heat.probabilities]
    rounds = [final, *heats]
    return Choice(
        tuple(shares),
        mass=min(each.mass for each in rounds),
        orders=max(each.orders for each in rounds),
        flipped=any(each.flipped for each in rounds),
    )


def _heat(
    model: VisionLanguageModel,
    sections: Sequence[Section],
    group: Sequence[Picture],
    allowance: Allowance,
    cancelled: Callable[[], bool],
) -> Choice:
    if len(group) == 1:
        return Choice((1.0,), mass=1.0, orders=0)  # nobody to choose from
    letters = LETTERS[: len(group)]
    prompt = model.prompts.choose(sections, group)
    tokens = model.count_tokens(prompt)
    allowance.look(tokens)
    choice = model.choose(prompt, letters, cancelled=cancelled)
    if _lead(choice) >= CLOSE or not allowance.look_again(tokens):
        return choice
    again = model.choose(model.prompts.choose(sections, group[::-1]), letters, cancelled=cancelled)
    return _mean(choice, Choice(again.probabilities[::-1], again.mass))


def _mean(one: Choice, other: Choice) -> Choice:
    shares = tuple((a + b) / 2 for a, b in zip(one.probabilities, other.probabilities, strict=True))
    return Choice(shares, min(one.mass, other.mass), orders=2, flipped=_best(one) != _best(other))


def _lead(choice: Choice) -> float:
    second, first = sorted(choice.probabilities)[-2:]
    return first - second


def _groups(candidates: Sequence[Picture], *, most: int) -> list[Sequence[Picture]]:
    """Cuts into as few groups as can be, of sizes as equal as can be."""
    count = -(-len(candidates) // most)
    bounds = [i * len(candidates) // count for i in range(count + 1)]
    return [candidates[a:b] for a, b in pairwise(bounds)]


def _best(choice: Choice) -> int:
    return max(range(len(choice.probabilities)), key=choice.probabilities.__getitem__)
