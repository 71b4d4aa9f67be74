"""`xcomp eval selection` over gRPC: a real indexer, a composer with made-up models, and picks that are known."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.checkpoints import write_checkpoint
from tests.indexing import Indexer
from tests.service.test_composer_models import serving
from xcomp_cli.main import run
from xcomp_composer.model_pool.pool import EndpointConfig, ModelPool
from xcomp_model.xcomposer.model import XComposer

COLOURS = {"red": (200, 20, 20), "green": (20, 160, 40), "blue": (30, 40, 200), "yellow": (230, 210, 30)}
NAMES = tuple(COLOURS)
ITEMS = 16


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = {"biased": write_checkpoint(1, tmp_path_factory.mktemp("biased"))}
    for version in (1, 2):
        made[f"random {version}"] = write_checkpoint(version, tmp_path_factory.mktemp("random"), is_fair=True)
    return {name: str(folder) for name, folder in made.items()}


@dataclass
class Bench:
    """A repository of coloured images, and a file of items."""

    folder: Path
    ids: dict[str, str]
    capsys: pytest.CaptureFixture[str]

    def write(self, picks: Sequence[int | str | None], **more: object) -> None:
        """Writes items whose query names the colour of candidate N % 4, half of them by files and half by ids."""
        lines = []
        for number, pick in enumerate(picks):
            files = [f"photos/{name}.png" for name in NAMES]
            ids = [self.ids[f"{name}.png"] for name in NAMES]
            item = {
                "id": f"item {number}",
                "context": f"Number {number}.\n\nThe wall is painted {NAMES[number % 4]}.",
                "query": NAMES[number % 4],
                "candidates": ids if number % 2 else files,
                "pick": pick,
            }
            lines.append(json.dumps({**item, **more}))
        (self.folder / "items.jsonl").write_text("\n".join(lines))

    def figures(self, *flags: str) -> Any:
        """Runs the evaluation; returns what it prints as JSON."""
        assert run(["eval", "selection", str(self.folder / "items.jsonl"), "--json", *flags]) == 0
        return json.loads(self.capsys.readouterr().out)


@pytest.fixture
def bench(
    indexer: Indexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Bench]:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 48), colour).save(photos / f"{name}.png")
    indexer.ingest(photos)
    with serving(indexer.address, ModelPool(EndpointConfig(), allowed={"*"})) as composer:
        monkeypatch.setenv("XCOMP_INDEXER", indexer.address)
        monkeypatch.setenv("XCOMP_COMPOSER", composer.address)
        yield Bench(tmp_path, indexer.images(), capsys)


def covers(figure: dict[str, float], value: float) -> bool:
    return figure["low"] <= value <= figure["high"]


@pytest.mark.parametrize("model", ["random 1", "random 2"])
def test_random_weights_read_chance(bench: Bench, models: dict[str, str], model: str) -> None:
    draw = random.Random(3)
    bench.write([draw.randrange(4) for _ in range(ITEMS)])
    figures = bench.figures("--model", models[model], "--no-controls")
    assert (figures["items"], figures["chance"], figures["model"]) == (ITEMS, 0.25, models[model])
    for way in ("clip", "released", "ours_forced"):
        assert covers(figures["accuracy"][way], 0.25), way
        assert figures["accuracy"][way]["count"] == ITEMS
    assert covers(figures["differences"]["ours - released"], 0) or figures["abstention"]["rate"]["mean"] > 0


def test_clip_finds_what_the_queries_name(bench: Bench) -> None:
    bench.write([number % 4 for number in range(8)])
    figures = bench.figures("--model", "retrieval")
    assert figures["accuracy"]["clip"]["mean"] == 1
    assert "released" not in figures["accuracy"]
    assert figures["threshold"] is None
    assert figures["controls"]["shuffled"]["mean"] < 1


def test_a_model_that_loves_a_letter_is_found_out(bench: Bench, models: dict[str, str]) -> None:
    bench.write([0, 1, 2, "none", 3])
    figures = bench.figures("--model", models["biased"])
    for way in ("ours", "released"):
        letters = figures["letters"][way]
        assert letters["orders_disagree"] == letters["pairs_disagree"] == 1
        assert letters["by_letter"]["A"]["chosen"] == letters["by_letter"]["A"]["accuracy"] == 1
        assert letters["by_letter"]["B"]["accuracy"] == 0
        assert letters["by_letter"]["A"]["count"] == 4
    assert figures["controls"]["without_pixels"]["mean"] == pytest.approx(1 / 4)
    assert figures["chance"] == pytest.approx(4 / 4 / 5)
    assert figures["threshold"]["choices"] == 5


def test_images_so_far_and_a_given_order_reach_the_model(bench: Bench, models: dict[str, str]) -> None:
    bench.write([3, 3], order="DCBA", images=["photos/red.png"])
    figures = bench.figures("--model", models["biased"], "--no-controls")
    assert figures["accuracy"]["released"]["mean"] == 1


def test_the_report_names_every_way_and_what_stands_beside_it(bench: Bench, models: dict[str, str]) -> None:
    bench.write([0, "none"])
    assert run(["eval", "selection", str(bench.folder / "items.jsonl"), "--model", models["biased"]]) == 0
    said = bench.capsys.readouterr().out
    for words in (
        "chance",
        "CLIP top-1",
        "released procedure",
        "ours, never abstaining",
        "no pixels",
        "80.4%",
    ):
        assert words in said


def test_the_same_seed_gives_the_same_figures(bench: Bench, models: dict[str, str]) -> None:
    bench.write([0, 1])
    flags = ("--model", models["biased"], "--no-controls", "--seed", "5")
    assert bench.figures(*flags) == bench.figures(*flags)


def test_choices_without_a_usable_answer_are_counted_and_the_others_go_on(
    bench: Bench, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write([0, 1])
    options = ("--model", models["biased"], "--no-controls")
    assert bench.figures(*options)["abstention"]["failed"] == 0
    monkeypatch.setattr(XComposer, "_option_probabilities", lambda *_: [0.0] * 4)
    figures = bench.figures(*options)
    assert figures["abstention"]["failed"] == 2
    assert figures["accuracy"]["clip"]["count"] == 2


def test_an_unknown_id_is_named_with_its_item(bench: Bench) -> None:
    bench.ids["red.png"] = "00000000-0000-0000-0000-000000000000"
    bench.write([0, 1])
    assert run(["eval", "selection", str(bench.folder / "items.jsonl")]) == 1
    assert "item 'item 1'" in bench.capsys.readouterr().err


def test_items_without_picks_become_a_blind_page_whose_picks_are_read_back(bench: Bench) -> None:
    bench.write([None] * 4)
    made = bench.figures("--repo", "default")
    page = Path(made["page"]).read_text()
    data = json.loads(page.partition('type="application/json">')[2].partition("</script>")[0])
    assert made["items"] == len(data["items"]) == 4
    assert not [word for word in (".png", *bench.ids.values(), "query") if word in page.partition("<script")[2]]
    assert {tuple(each["number"] for each in item["candidates"]) for item in data["items"]} != {(0, 1, 2, 3)}
    picks = [{"id": item["id"], "item": item["digest"], "pick": n} for n, item in enumerate(data["items"])]
    (bench.folder / "picks.jsonl").write_text("\n".join(map(json.dumps, picks)))
    figures = bench.figures("--picks", str(bench.folder / "picks.jsonl"), "--model", "retrieval")
    assert (figures["items"], figures["accuracy"]["clip"]["mean"]) == (4, 1)
