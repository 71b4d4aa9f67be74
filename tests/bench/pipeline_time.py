"""How long an article takes to illustrate, over all stages: `python -m tests.bench.pipeline_time [--help]`.

The article and the pipeline of `pipeline_cost`, on the clock. Answers are drawn token by token, bound to what they are
to say; choices are close, so that second looks take their whole allowance. Tiny models are made up; wide ones are
random, of the released width, with all 32 layers on a GPU and two without one, towers likewise. Searching is a toy's.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import grpc
import torch

from tests.bench import machine, model_speed
from tests.bench.pipeline_cost import SPOTS, Given, illustrated, pictures
from tests.checkpoints import write_checkpoint
from tests.toy_indexer import ToyIndexer, serving
from xcomp_model import load
from xcomp_model.base import ModelFailure, Prompt, Runtime, Sampling
from xcomp_model.xcomposer.model import XComposer
from xcomp_model.xcomposer.runtime.device import DevicePlacement, find_placement
from xcomp_protos import indexer_pb2_grpc as rpc

_CONTEXT = {1: 2048, 2: 8192}


class Exactly:
    """A form that one answer has."""

    def __init__(self, answer: str) -> None:
        self.characters = frozenset(answer)
        self._answer = answer

    def is_prefix(self, said: str) -> bool:
        """Whether the answer begins so."""
        return self._answer.startswith(said)

    def is_complete(self, said: str) -> bool:
        """Whether it is the answer."""
        return said == self._answer


class Drawn(Given):
    """A model that draws its answers, and has no say in them."""

    def say(self, prompt: Prompt, answer: str, sampling: Sampling, is_cancelled: Callable[[], bool]) -> None:
        """Has the model draw the answer."""
        bound = replace(sampling, grammar=Exactly(answer), stop=())
        said = "".join(self._model.stream(prompt, bound, is_cancelled=is_cancelled))
        assert said == answer, said

    def weigh(self, prompt: Prompt, options: Sequence[str], is_cancelled: Callable[[], bool]) -> float:
        """Has the model weigh the options; random weights follow no prompt."""
        with suppress(ModelFailure):
            return super().weigh(prompt, options, is_cancelled)
        return 1.0


def main() -> None:
    """Prints a line for each version and number of spots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "wide"), default="tiny")
    parser.add_argument("--version", type=int, choices=(1, 2), nargs="+", default=(1, 2))
    parser.add_argument("--spots", type=int, nargs="+", default=SPOTS)
    options = parser.parse_args()
    place = find_placement("auto", "auto")
    print(machine.line(f"python -m tests.bench.pipeline_time --size {options.size}"))
    depth = "" if options.size == "tiny" else f", {_layers(place)} layers"
    print(f"{place.device}, {place.dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}{depth}")
    with serving(ToyIndexer(pictures())) as address, grpc.insecure_channel(address) as channel:
        stub = rpc.IndexerStub(channel)
        for version in options.version:
            if options.size == "tiny":
                illustrated(_tiny(version), stub, spots=1, kind=Drawn)  # so that nothing is timed the first time
            for spots in options.spots:
                model = _tiny(version) if options.size == "tiny" else _wide(version, place)
                started = time.perf_counter()
                illustrated(model, stub, spots=spots, kind=Drawn)
                seconds = time.perf_counter() - started
                read = model.positions_read
                print(
                    f"version {version}, {options.size}, {spots} spots: {seconds:.1f} s, {read:,} positions", flush=True
                )


def _tiny(version: int) -> XComposer:
    with tempfile.TemporaryDirectory() as folder:
        model = load(str(write_checkpoint(version, Path(folder) / "m", full_images=True)), Runtime())
    assert isinstance(model, XComposer)
    return model


def _layers(place: DevicePlacement) -> int:
    return 32 if place.main.type == "cuda" else 2


def _wide(version: int, place: DevicePlacement) -> XComposer:
    config = model_speed._config(version, layers=_layers(place))
    network = model_speed._random(config, place)
    return model_speed._model(config, network, place, context_tokens=_CONTEXT[version])[0]


if __name__ == "__main__":
    main()
