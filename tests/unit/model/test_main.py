"""Plans and conversions, as `xcomp models` runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints import write_checkpoint
from xcomp_model import load
from xcomp_model.__main__ import main
from xcomp_model.base import Turn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(2, tmp_path_factory.mktemp("tiny"))


def test_a_plan_names_every_part(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(folder), "--device", "cpu", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert set(plan["weights"]) == {"vision", "projector", "decoder", "partial LoRA"}
    assert plan["needed"] == sum(plan["weights"].values()) + plan["kv"] + plan["workspace"]
    assert plan["headroom"] == plan["free"] - plan["needed"]
    assert main(["plan", str(folder)]) == 0
    assert "headroom" in capsys.readouterr().out


@pytest.mark.parametrize(("sink", "says"), [("pipe", ""), ("/dev/full", "error: [Errno 28] No space left on device\n")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_not_a_traceback(folder: Path, sink: str, says: str, unbuffered: str) -> None:
    if sink == "pipe":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open(sink, os.O_WRONLY)
    command = [sys.executable, "-m", "xcomp_model.__main__", "plan", str(folder), "--device", "cpu"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, says)


def test_a_plan_that_does_not_fit_names_the_ways_out(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xcomp_model.xcomposer.runtime.memory_plan.free_bytes", lambda _: 1 << 20)
    assert main(["plan", str(folder), "--device", "cpu"]) == 0
    assert "does not fit: use --model retrieval or --model openai:MODEL" in capsys.readouterr().out


def test_a_converted_model_loads_and_answers_as_before(folder: Path, tmp_path: Path) -> None:
    assert main(["convert", str(folder), str(tmp_path / "clean"), "--precision", "fp32"]) == 0
    assert list((tmp_path / "clean").glob("*.safetensors"))
    answers = []
    for each in (folder, tmp_path / "clean"):
        model = load(str(each))
        prompt = model.prompts.chat([Turn("user", "what is this?")])
        answers.append("".join(model.stream(prompt, model.prompts.sampling("chat", seed=3))))
    assert answers[0] == answers[1]


def test_a_local_model_is_not_fetched_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", str(folder)]) == 0
    assert str(folder) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["plan", "./nowhere"], "nowhere"),
        (["plan", ".", "--device", "abacus"], "abacus"),
        (["convert", "{folder}", "{folder}"], "is not empty"),
        (["convert", "{folder}", "{folder}/config.json"], "config.json"),
    ],
)
def test_an_error_is_one_line(
    folder: Path,
    arguments: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    assert main([argument.format(folder=folder) for argument in arguments]) == 1
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert expected in output
    assert output.count("\n") == 1
