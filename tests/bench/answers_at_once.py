"""Compares simultaneous answers with a single one: `python -m tests.bench.answers_at_once [1|2]`.

It draws greedy tokens behind prompts of about a hundred positions with the models' own runner, at tiny size and at true
width: all layers on a GPU, two layers on a CPU. Weights are random. The numbers of answers alternate in one run; the
result is the median of three.
"""

import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from tests.bench import machine, model_speed
from tests.checkpoints import write_checkpoint
from xcomp_model.base import Sampling, Text, never
from xcomp_model.decoding import TokenSampler
from xcomp_model.xcomposer.architecture.config import read_config
from xcomp_model.xcomposer.model import XComposer
from xcomp_model.xcomposer.runtime.device import DevicePlacement, find_placement
from xcomp_model.xcomposer.runtime.runner import Runner
from xcomp_model.xcomposer.tokenizer import Unit
from xcomp_model.xcomposer.weights import convert

_TOKENS = {"tiny": 64, "true width": 12}
_COUNTS = (1, 2, 4, 8)
_ROUNDS = 3


def main() -> None:
    """Prints a line for each version and size."""
    placement = find_placement("auto", "auto")
    on_gpu = placement.main.type == "cuda"
    print(machine.line(f"python -m tests.bench.answers_at_once {' '.join(sys.argv[1:])}".strip()))
    print(f"{placement.device}, {placement.dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("true width: " + ("all 32 layers" if on_gpu else "two layers"))
    for version in [int(v) for v in sys.argv[1:]] or [1, 2]:
        with tempfile.TemporaryDirectory() as name:
            config = read_config(write_checkpoint(version, Path(name)))
            _report(
                version, "tiny", *model_speed._model(config, convert.load(Path(name), placement), placement), placement
            )
        config = model_speed._config(version, layers=32 if on_gpu else 2)
        _report(
            version,
            "true width",
            *model_speed._model(config, model_speed._random(config, placement), placement),
            placement,
        )


def _report(version: int, size: str, model: XComposer, runner: Runner, placement: DevicePlacement) -> None:
    prompts = [
        model._tokenizer.encode_prompt((Text(f"{i} " + "a cat on a mat " * (12 + i)),)) for i in range(max(_COUNTS))
    ]
    seconds = {count: list[float]() for count in _COUNTS}
    _seconds(runner, prompts, placement, tokens=2)  # warm
    for _ in range(_ROUNDS):
        for count in _COUNTS:
            seconds[count].append(_seconds(runner, prompts[:count], placement, tokens=_TOKENS[size]))
    rates = {count: count * _TOKENS[size] / statistics.median(seconds[count]) for count in _COUNTS}
    summary = ", ".join(f"{count}: {rate:.1f} ({rate / rates[1]:.2f}x)" for count, rate in rates.items())
    print(f"version {version}, {size}: tokens/s at once {summary}", flush=True)


def _seconds(runner: Runner, prompts: Sequence[Sequence[Unit]], placement: DevicePlacement, *, tokens: int) -> float:
    """Returns the seconds of drawing tokens behind all prompts at the same time, without reading the prompts."""
    ready = threading.Barrier(len(prompts) + 1, timeout=600)

    def draw(units: Sequence[Unit]) -> None:
        sampler = TokenSampler(Sampling(), device=runner.device)
        with (
            runner.read_prompt(units, more=tokens, is_cancelled=never) as (prefix, scores),
            runner.join_batch(prefix) as read_token,
        ):
            ready.wait()
            for _ in range(tokens):
                scores = read_token(sampler.draw(scores))

    with ThreadPoolExecutor(len(prompts)) as pool:
        answers = [pool.submit(draw, units) for units in prompts]
        ready.wait()
        return model_speed._timed(placement, lambda: [each.result() for each in answers])


if __name__ == "__main__":
    main()
