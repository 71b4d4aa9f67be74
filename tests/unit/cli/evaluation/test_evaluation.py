"""Items, intervals and the fitted threshold of `xcomp eval selection`."""

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from xcomp_cli.evaluation.asking import ItemAnswers, SelectionAnswer
from xcomp_cli.evaluation.figures import difference, estimate
from xcomp_cli.evaluation.items import read_items, with_picks
from xcomp_cli.evaluation.labelling import labelling_page
from xcomp_cli.evaluation.report import lines
from xcomp_cli.evaluation.summary import summarise
from xcomp_cli.evaluation.threshold import JudgedChoice, fit
from xcomp_protos.errors import InvalidRequest

KNOWN = {"context": "Words.", "query": "a cat", "candidates": ["a.png", "b.png", "c.png"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in KNOWN["candidates"]:
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    return tmp_path


def written(folder: Path, *records: object, name: str = "items.jsonl") -> Path:
    file = folder / name
    file.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in records))
    return file


def test_items_are_read_with_defaults(folder: Path) -> None:
    item, other = read_items(written(folder, KNOWN, "", {**KNOWN, "id": "x", "pick": "none", "order": "CAB"}))
    assert (item.id, item.order, item.is_labelled, item.pick) == ("1", (0, 1, 2), False, None)
    assert (other.id, other.order, other.is_labelled, other.pick) == ("x", (2, 0, 1), True, None)
    assert item.candidates[0].file == folder / "a.png"
    assert item.digest == other.digest


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ({**KNOWN, "context": " "}, "context: expected words"),
        ({**KNOWN, "query": None}, "query: expected words"),
        ({**KNOWN, "candidates": ["a.png"]}, "candidates: expected a list of 2 to 26"),
        ({**KNOWN, "candidates": ["a.png", "gone.png"]}, "there is no file"),
        ({**KNOWN, "candidates": ["a.png", 3]}, "expected a path or an id"),
        ({**KNOWN, "pick": 3}, "pick: expected 0 to 2"),
        ({**KNOWN, "pick": True}, "pick: expected 0 to 2"),
        ({**KNOWN, "order": "ABB"}, "order: expected each candidate once"),
        ({**KNOWN, "order": 7}, "order: expected each candidate once"),
        ({**KNOWN, "images": "a.png"}, "images: expected a list"),
        ({**KNOWN, "images": [{"image": "a.png", "after": -1}]}, "images: after"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(folder: Path, record: object, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match="line 2") as raised:
        read_items(written(folder, KNOWN, record))
    assert complaint in str(raised.value)


def test_picks_of_other_items_are_refused(folder: Path) -> None:
    items = read_items(written(folder, KNOWN))
    for pick, complaint in (
        ({"id": "9", "pick": 0}, "there is no item '9'"),
        ({"id": "1", "item": "abc", "pick": 0}, "has changed since it was labelled"),
    ):
        with pytest.raises(InvalidRequest, match=complaint):
            with_picks(items, written(folder, pick, name="picks.jsonl"))
    found = with_picks(items, written(folder, {"id": "1", "pick": 2}, {"id": "1", "pick": 1}, name="picks.jsonl"))
    assert [item.pick for item in found] == [1]


def test_an_interval_covers_the_mean_of_most_samples() -> None:
    draw = random.Random(1)
    estimates = [estimate([float(draw.random() < 0.3) for _ in range(60)], seed=2) for _ in range(60)]
    covered = sum(each.low <= 0.3 <= each.high for each in estimates)
    assert covered >= 51


def test_pairs_make_a_difference_narrower() -> None:
    ones = [float(n % 2) for n in range(40)]
    others = [1.0, *ones[1:]]
    paired = difference(others, ones, seed=1)
    assert paired.mean == pytest.approx(1 / 40)
    assert paired.high - paired.low < estimate(ones, seed=1).high - estimate(ones, seed=1).low


def test_no_values_have_no_interval() -> None:
    assert estimate([], seed=1).count == 0


def test_the_threshold_is_found_between_wrong_and_right_choices() -> None:
    judged = [JudgedChoice(n / 100, n >= 40) for n in range(100)]
    found = fit(judged, used=0.1, seed=1)
    assert found
    assert found.threshold == pytest.approx(0.395)
    assert found.spread[0] == pytest.approx(0.395, abs=0.03)
    assert found.fitted.mean > found.now.mean > found.always.mean


def test_a_threshold_that_only_fits_noise_gains_nothing_on_held_out_choices() -> None:
    draw = random.Random(5)
    found = fit([JudgedChoice(draw.random(), draw.random() < 0.5) for _ in range(200)], used=0.0, seed=1)
    assert found
    assert found.fitted.low < 0.05


def test_right_choices_need_no_threshold() -> None:
    found = fit([JudgedChoice(n / 10, True) for n in range(10)], used=0.5, seed=1)
    assert found
    assert found.threshold == 0


def test_five_choices_are_the_fewest_that_are_fitted() -> None:
    assert fit([JudgedChoice(0.5, True)] * 4, used=0.1, seed=1) is None


def test_abstentions_are_right_where_nothing_fits(folder: Path) -> None:
    records = [{**KNOWN, "id": str(n), "pick": pick} for n, pick in enumerate((0, 1, "none", "none"))]
    items = read_items(written(folder, *records))
    sure, unsure = SelectionAnswer(0, (0.8, 0.1, 0.1), 1.0, 0.4), SelectionAnswer(None, (0.35, 0.33, 0.32), 1.0, 0.4)
    asked = [ItemAnswers(item, sure, answer) for item, answer in zip(items, (sure, unsure, unsure, None), strict=True)]
    figures = summarise(asked, seed=1)
    said = "\n".join(lines({**figures, "model": "m", "space": "s"}))
    abstention = figures["abstention"]
    assert isinstance(abstention, dict)
    assert abstention["failed"] == 1
    assert abstention["precision"]["mean"] == 1
    assert abstention["rate"]["mean"] == pytest.approx(2 / 3)
    assert figures["accuracy"]["ours"]["mean"] == 0.5  # type: ignore[index,call-overload]  # of JSON
    assert figures["accuracy"]["ours_forced"]["mean"] == 0.25  # type: ignore[index,call-overload]  # of JSON
    assert "1 choices failed" in said


def test_a_share_of_nothing_is_no_share(folder: Path) -> None:
    items = read_items(written(folder, {**KNOWN, "pick": 1}))
    figures = summarise([ItemAnswers(items[0], None, SelectionAnswer(None, (0.35, 0.33, 0.32), 1.0, 0.4))], seed=1)
    said = list(lines({**figures, "model": "m", "space": "s"}))
    assert f"{'  right where it chooses':<26}     –     n=0" in said
    assert not any("0.0" in line for line in said if line.endswith("n=0"))


def test_nothing_of_an_item_acts_on_its_page(folder: Path) -> None:
    evil = "</script><script>alert(1)</script><!-- $style {{x}} ${y}"
    items = read_items(written(folder, {**KNOWN, "id": evil, "context": evil}))
    page = labelling_page(items, lambda _: "data:,", name=evil, seed=1)
    assert page.count("<script") == 2
    assert "<script>alert" not in page
