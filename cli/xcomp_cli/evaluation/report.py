"""Prints the figures of an evaluation as lines for a person."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from xcomp_cli.evaluation.threshold import LEAST

Figures: TypeAlias = Mapping[str, Any]  # of JSON, as `summary` makes them
_NAMES = {
    "clip": "CLIP top-1",
    "released": "released procedure",
    "ours": "ours",
    "ours_forced": "ours, never abstaining",
}
_CONTROLS = {
    "shuffled": "another item's images",
    "without_pixels": "no pixels",
}


def lines(figures: Figures) -> Iterator[str]:
    """Yields the report line by line."""
    yield (
        f"{figures['items']} items, {figures['none_fits']} of them with nothing that fits · model {figures['model']} "
        f"· space {figures['space']}"
    )
    yield ""
    yield f"{'right':<26}{'mean':>8}   95 % interval"
    yield f"{'chance':<26}{_percent(figures['chance'])}"
    yield from (_row(_NAMES[name], each) for name, each in figures["accuracy"].items())
    yield ""
    yield from (_row(_pair(name), each, sign="+") for name, each in figures["differences"].items())
    yield from _letters(figures)
    yield from _abstention(figures["abstention"])
    yield from _controls(figures["controls"])
    yield from _threshold(figures["threshold"])
    beside = figures["beside"]
    yield ""
    yield (
        f"Beside it: {beside['source']} reports {beside['released_model']:.1%} for the released model and "
        f"{beside['clip']:.1%} for CLIP: {beside['note']}."
    )


def _letters(figures: Figures) -> Iterator[str]:
    for name, found in figures["letters"].items():
        letters = found["by_letter"]
        yield ""
        yield (
            f"{_NAMES[name]}, one order at a time: orders disagree on {found['orders_disagree']:.1%} of the items, "
            f"{found['pairs_disagree']:.1%} of the pairs of orders"
        )
        yield f"  {'letter':<24}" + "".join(f"{letter:>8}" for letter in letters)
        for key, words in (("chosen", "chosen"), ("expected", "without a preference"), ("accuracy", "right there")):
            yield f"  {words:<24}" + "".join(_percent(each[key]) for each in letters.values())
    if figures["unread"]:
        yield f"  {figures['unread']} released answers named no letter: the first candidate was taken, as released"


def _abstention(found: Figures) -> Iterator[str]:
    yield ""
    yield _row("abstains", found["rate"])
    if found["precision"]["count"]:
        yield _row("  rightly so", found["precision"])
    yield _row("  right where it chooses", found["accuracy_of_the_rest"])
    if found["of_none_fits"]["count"]:
        yield _row("  where nothing fits", found["of_none_fits"])
    if found["failed"]:
        yield f"  {found['failed']} choices failed and count as wrong"


def _controls(found: Figures) -> Iterator[str]:
    known = {name: found[name] for name in _CONTROLS if found[name]}
    if known:
        yield ""
        yield f"controls that must read chance, {found['chance']:.1%}"
        yield from (_row(f"  {_CONTROLS[name]}", each) for name, each in known.items())
    if found["none_fits"]:
        yield _row("abstains without the pick", found["none_fits"])


def _threshold(found: Figures | None) -> Iterator[str]:
    if found is None:
        return
    gain = found["gain"]
    yield ""
    yield (
        f"margin of abstention: {found['suggested']:.3f} fits these choices best, {found['used']:.3f} is in use "
        f"(folds {found['folds']['lowest']:.3f} to {found['folds']['highest']:.3f})"
    )
    yield f"{'gain of a choice':<26}{'mean':>8}   right +1, wrong -1, none 0"
    for key, words in (("suggested", "  fitted, cross-validated"), ("used", "  in use"), ("always", "  none")):
        each = gain[key]
        yield f"{words:<26}{each['mean']:>+8.3f}   [{each['low']:+.3f}, {each['high']:+.3f}]"
    if found["choices"] < LEAST:
        yield f"  {found['choices']} choices are too few to go by it: label {LEAST} or more"


def _row(name: str, found: Figures, *, sign: str = "") -> str:
    if not found["count"]:
        return f"{name:<26}{'–':>6}     n=0"
    mean, low, high = (format(100 * found[key], f"{sign}.1f") for key in ("mean", "low", "high"))
    return f"{name:<26}{mean:>6} %   [{low}, {high}]  n={found['count']}"


def _percent(share: float) -> str:
    return f"{100 * share:>6.1f} %"


def _pair(name: str) -> str:
    one, _, other = name.partition(" - ")
    return f"{_NAMES[one]} - {_NAMES[other]}"
