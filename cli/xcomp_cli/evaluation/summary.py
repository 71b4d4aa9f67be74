"""Computes figures from all answers: accuracy by procedure, letters, abstentions, controls, and the threshold.

All items are labelled. The figures are the JSON output; `report` prints them.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeAlias

from xcomp_cli.evaluation.asking import AnswerInOrder, ItemAnswers, SelectionAnswer
from xcomp_cli.evaluation.figures import difference, estimate
from xcomp_cli.evaluation.items import LETTERS
from xcomp_cli.evaluation.threshold import JudgedChoice, fit
from xcomp_cli.output.console import Json

Figures: TypeAlias = dict[str, Json]
Value = Callable[[ItemAnswers], float]
_TABLE_10: Figures = {
    "source": "arXiv 2309.15112, Table 10",
    "released_model": 0.804,
    "clip": 0.402,
    "note": "agreement with choices of people, on items that were never released: not to be compared number by number",
}


def summarise(asked: Sequence[ItemAnswers], *, seed: int) -> Figures:
    """Returns all figures as a JSON object."""
    ways = _ways(asked)
    values = {name: [value(each) for each in asked] for name, value in ways.items()}
    pairs = [("ours", other) for other in ("clip", "released") if other in ways]
    return {
        "items": len(asked),
        "none_fits": sum(each.item.pick is None for each in asked),
        "chance": _mean([_chance(each) for each in asked]),
        "accuracy": {name: estimate(each, seed=seed).to_json() for name, each in values.items()},
        "differences": {
            f"{one} - {other}": difference(values[one], values[other], seed=seed).to_json() for one, other in pairs
        },
        "unread": sum(each.released is not None and each.released.mass == 0 for each in asked),
        "letters": {name: _letters(asked, name) for name in ("ours", "released") if _has_orders(asked, name)},
        "abstention": _abstention(asked, seed=seed),
        "controls": _controls(asked, seed=seed),
        "threshold": _threshold(asked, seed=seed),
        "beside": _TABLE_10,
    }


def _ways(asked: Sequence[ItemAnswers]) -> dict[str, Value]:
    ways: dict[str, Value] = {"clip": lambda each: _is_right(each, each.similar)}
    if any(each.by_order for each in asked):
        ways["released"] = lambda each: _is_right(each, each.released)
    ways["ours"] = lambda each: float(each.ours is not None and each.ours.choice == each.item.pick)
    ways["ours_forced"] = lambda each: _is_right(each, each.ours)
    return ways


def _is_right(asked: ItemAnswers, answer: SelectionAnswer | None) -> float:
    """Returns 1 if the preferred candidate is the pick of the person; 0 if nothing fits."""
    return float(answer is not None and answer.best == asked.item.pick)


def _chance(asked: ItemAnswers) -> float:
    """Returns the accuracy of a random choice; 0 if nothing fits."""
    return 0.0 if asked.item.pick is None else 1 / len(asked.item.candidates)


def _has_orders(asked: Sequence[ItemAnswers], name: str) -> bool:
    return any(len(each.by_order.get(name, ())) > 1 for each in asked)


def _letters(asked: Sequence[ItemAnswers], name: str) -> Figures:
    """Returns how answers depend on the order, over orders in which each candidate has each letter equally often."""
    answers = [[each for each in one.by_order[name] if each.answer] for one in asked if name in one.by_order]
    complete = [each for each in answers if len(each) > 1]
    pairs = [_best(one) != _best(other) for each in complete for one, other in combinations(each, 2)]
    return {
        "orders_disagree": _mean([float(len({_best(each) for each in some}) > 1) for some in complete]),
        "pairs_disagree": _mean(list(map(float, pairs))),
        "by_letter": {
            letter: _letter(number, asked, name) for number, letter in enumerate(LETTERS[: _most_letters(asked)])
        },
    }


def _letter(number: int, asked: Sequence[ItemAnswers], name: str) -> Figures:
    """Returns how often a letter is chosen, would be chosen without a preference, and is right."""
    seen = [(one, each) for one in asked for each in one.by_order.get(name, ()) if each.answer]
    chosen = [float(each.order.index(_best(each)) == number) for _, each in seen if number < len(each.order)]
    right = [
        float(_best(each) == one.item.pick) for one, each in seen
        if number < len(each.order) and each.order[number] == one.item.pick
    ]  # fmt: skip
    expected = [1 / len(each.order) for _, each in seen if number < len(each.order)]
    return {"chosen": _mean(chosen), "expected": _mean(expected), "accuracy": _mean(right), "count": len(right)}


def _most_letters(asked: Sequence[ItemAnswers]) -> int:
    return max(len(each.item.candidates) for each in asked)


def _best(ordered: AnswerInOrder) -> int:
    assert ordered.answer, "filtered by the callers"
    return ordered.answer.best


def _abstention(asked: Sequence[ItemAnswers], *, seed: int) -> Figures:
    """Returns figures of abstention; precision is the share of abstentions whose best candidate is not the pick."""
    answered = [each for each in asked if each.ours]
    abstained = [each for each in answered if each.ours and each.ours.choice is None]
    chosen = [each for each in answered if each.ours and each.ours.choice is not None]
    nothing = [each for each in answered if each.item.pick is None]
    return {
        "rate": estimate([float(each in abstained) for each in answered], seed=seed).to_json(),
        "precision": estimate([1 - _is_right(each, each.ours) for each in abstained], seed=seed).to_json(),
        "accuracy_of_the_rest": estimate([_is_right(each, each.ours) for each in chosen], seed=seed).to_json(),
        "of_none_fits": estimate([float(each in abstained) for each in nothing], seed=seed).to_json(),
        "failed": len(asked) - len(answered),
    }


def _controls(asked: Sequence[ItemAnswers], *, seed: int) -> Figures:
    """Returns the controls: other or grey images must give chance, and without the pick nothing fits."""
    picked = [each for each in asked if each.item.pick is not None]
    found = {
        name: [(each, answer) for each in picked if (answer := each.controls.get(name))]
        for name in ("shuffled", "without_pixels", "none_fits")
    }
    left = [float(answer.choice is None) for _, answer in found["none_fits"]]
    return {
        "chance": _mean([_chance(each) for each in picked]),
        "shuffled": _control([_is_right(*each) for each in found["shuffled"]], seed),
        "without_pixels": _control([_is_right(*each) for each in found["without_pixels"]], seed),
        "none_fits": _control(left, seed),
    }


def _control(values: Sequence[float], seed: int) -> Figures | None:
    return estimate(values, seed=seed).to_json() if values else None


def _threshold(asked: Sequence[ItemAnswers], *, seed: int) -> Figures | None:
    judged = [(each.ours, _is_right(each, each.ours) == 1) for each in asked if each.ours and each.ours.needed]
    if not judged:
        return None
    fitted = fit(
        [JudgedChoice(answer.certainty, is_right) for answer, is_right in judged], used=judged[0][0].margin, seed=seed
    )
    return None if fitted is None else {**fitted.to_json(), "choices": len(judged)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
