"""`xcomp repo space` as people and scripts use it, against an indexer on loopback."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import images
from tests.fakes import OtherEmbedder
from tests.indexing import Indexer, serving
from xcomp_cli.main import run

OTHER = "other:colors"


@pytest.fixture(autouse=True)
def indexer(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Indexer]:
    """An indexer with three images and one whose file is gone."""
    with serving(home, others={OTHER: OtherEmbedder()}) as running:
        images.library(
            photos, {"red.jpg": images.RED, "green.jpg": images.GREEN, "blue.jpg": images.BLUE, "x.jpg": images.RED}
        )
        running.ingest(photos)
        (photos / "x.jpg").unlink()
        monkeypatch.setenv("XCOMP_INDEXER", running.address)
        yield running


def test_a_model_is_changed_and_changed_back(
    photos: Path, indexer: Indexer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["repo", "space", "add", "default", "new", OTHER, "--template", "a photo of {}", "--strict"]) == 3
    said = capsys.readouterr()
    assert said.out.splitlines()[0].startswith("default: 3 embedded (")
    assert said.out.splitlines()[1] == (
        "  space new, filling: other:colors, 13 dimensions, 3 images, understands en, queries as a photo of {}"
    )
    assert f"not embedded {photos}/x.jpg" in said.err
    assert "new lacks 1 image: bring" in said.err
    assert run(["repo", "space", "switch", "default", "new"]) == 1
    assert "1 images have no vector in space 'new' yet" in capsys.readouterr().err
    indexer.ingest(photos, prune=True)
    assert run(["repo", "space", "add", "default", "new"]) == 0
    assert "xcomp repo space switch default new" in capsys.readouterr().err
    assert run(["repo", "space", "switch", "default", "new", "--force"]) == 0
    said = capsys.readouterr()
    assert said.out == "default: new answers now\n"
    assert "back with: xcomp repo space switch default color" in said.err
    assert run(["repo", "show", "default"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "  space new, active", "  space color, standby",
    ]  # fmt: skip
    assert run(["repo", "space", "switch", "default", "color"]) == 0
    assert run(["repo", "space", "drop", "default", "new", "--yes"]) == 0
    assert "default: space new removed with 3 vectors" in capsys.readouterr().out


def test_scripts_read_it_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["repo", "space", "add", "default", "new", OTHER, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["space"], value["state"], value["filled"], value["lacking"]) == ("new", "filling", 3, 1)
    assert [each["reason"] for each in value["failed"]] == ["vanished"]
    assert run(["repo", "space", "switch", "default", "new", "color", "--force", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["before"] == ["color"]
    assert [(each["name"], each["state"], each["source"]) for each in value["spaces"]] == [
        ("new", "active", OTHER), ("color", "active", "color:hsv"),
    ]  # fmt: skip
    assert run(["repo", "space", "switch", "default", "color", "--json"]) == 0
    capsys.readouterr()
    assert run(["repo", "space", "drop", "default", "new", "-y", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vectors"] == 3


def test_dropping_asks_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(["repo", "space", "drop", "default", "color"]) == 1
    assert "nothing was done" in capsys.readouterr().err
