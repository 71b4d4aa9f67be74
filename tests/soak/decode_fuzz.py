"""Mutated and random files through decoder and ingest: no crash, and each is an image or has a known reason."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TypedDict

from tests.soak import proof
from tests.soak.proof import Outcome, Steps
from tests.soak.record import ROOT

SIZE = 10_000  # files
_STEP = 500  # files in one process
_PATIENCE_S = 600


class Result(TypedDict):
    """What came of one step."""

    reasons: dict[str, int]
    problems: list[str]


def prove(size: int, seed: int, steps: Steps) -> Outcome:
    """Takes `size` files through, some in each process."""
    reasons: Counter[str] = Counter()
    problems: list[str] = []
    for first in range(0, size, _STEP):
        result = steps.once(str(first), partial(step, seed, first, min(_STEP, size - first)))
        reasons.update(result["reasons"])
        problems += result["problems"]
        for problem in result["problems"]:
            print(problem, flush=True)
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    return Outcome(not problems and reasons.total() == size, f"{len(problems)} problems; {told}")


def step(seed: int, first: int, count: int) -> Result:
    """Takes some files through in a process of its own; a crash is a problem with the name of the file."""
    with tempfile.TemporaryDirectory(prefix="xcomp-fuzz-") as home:
        folder = Path(home)
        command = [sys.executable, "-m", "tests.soak.fuzz_child", *map(str, (seed, first, count)), home]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
            ended, last = f"ended in {done.returncode}", done.stderr.strip()[-2000:]
        except subprocess.TimeoutExpired:
            ended, last, done = f"took over {_PATIENCE_S} s", "", None
        if done and not done.returncode:
            result: Result = json.loads(done.stdout)
            return result
        name = (folder / "current").read_text() if (folder / "current").exists() else "nothing yet"
        if (folder / "photos" / name).is_file():
            kept = ROOT / ".soak" / "crashes"
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "photos" / name, kept)
        return {"reasons": {}, "problems": [f"seed {seed}, from {first}: the process {ended} at {name}: {last}"]}


if __name__ == "__main__":
    proof.run("decode_fuzz", prove, size=SIZE)
