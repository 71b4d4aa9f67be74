"""What every long proof does alike: it reads its options, goes on where it was cut short, prints and records a result.

A proof is a function of its size and seed. It does its work in steps, each a pure function of size, seed and key; what
a step returned is kept in `.soak/` until the proof is through.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from tests.bench import machine
from tests.soak import record

T = TypeVar("T")  # a JSON value


@dataclass(frozen=True)
class Outcome:
    """What a proof found, in one line."""

    holds: bool
    said: str


class Steps:
    """The results of the steps that are done; those of a run that was cut short are there again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._done: dict[str, object] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            self._done.update(json.loads(line))

    def once(self, key: str, work: Callable[[], T]) -> T:
        """Returns what a step came to, doing it unless it was done before."""
        if key not in self._done:
            result = work()
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({key: result}) + "\n")
            self._done[key] = result
        return cast("T", self._done[key])

    def forget(self) -> None:
        """Ends the proof: the next one begins again."""
        self._file.unlink(missing_ok=True)


def run(name: str, prove: Callable[[int, int, Steps], Outcome], *, size: int) -> None:
    """Runs a proof as a program: `python -m tests.soak.NAME [--size N] [--seed N]`; ends in 1 where it does not hold.

    Args:
        name: of the module.
        prove: takes size, seed and steps.
        size: that the project claims; a smaller one is a try.
    """
    parser = argparse.ArgumentParser(f"python -m tests.soak.{name}", description=sys.modules["__main__"].__doc__)
    parser.add_argument("--size", type=int, default=size, help="how much is tried")
    parser.add_argument("--seed", type=int, default=1, help="the same seed tries the same")
    options = parser.parse_args()
    print(machine.line(f"python -m tests.soak.{name} --size {options.size} --seed {options.seed}"), flush=True)
    steps = Steps(record.ROOT / ".soak" / f"{name}-{options.size}-{options.seed}-{record.revision()}.jsonl")
    begun = time.monotonic()
    outcome = prove(options.size, options.seed, steps)
    seconds = time.monotonic() - begun
    result = f"{'holds' if outcome.holds else '**fails**'}: {outcome.said}"
    print(f"\n{result} ({seconds:.0f} s)")
    record.keep(name, result=result, size=options.size, seed=options.seed, seconds=seconds)
    steps.forget()
    sys.exit(0 if outcome.holds else 1)
