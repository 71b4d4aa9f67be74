"""kill -9 at random moments of a rebuild under writes: what was acknowledged is there, in one whole shard."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from tests.soak import proof
from tests.soak.proof import Outcome, Steps
from xcomp_indexer.store import Point, VectorQuery
from xcomp_indexer.store.edge.store import EdgeStore
from xcomp_indexer.store.edge.stores import EdgeStores

SIZE = 50  # kills
_POINTS, _WIDTH, _BATCH = 2000, 32, 20


class Result(TypedDict):
    """What came of one kill."""

    step: str  # of the rebuild that was under way
    acknowledged: int  # batches of writes
    problems: list[str]


def prove(size: int, seed: int, steps: Steps) -> Outcome:
    """Kills `size` rebuilds."""
    results = [steps.once(str(number), partial(kill, seed, number)) for number in range(size)]
    problems = [problem for result in results for problem in result["problems"]]
    for problem in problems:
        print(problem, flush=True)
    where = ", ".join(f"{count} at {step}" for step, count in sorted(Counter(r["step"] for r in results).items()))
    written = sum(result["acknowledged"] for result in results)
    return Outcome(
        not problems and written > size, f"{size} kills ({where}), {written} batches; {len(problems)} problems"
    )


def kill(seed: int, number: int) -> Result:
    """Kills one process that writes and rebuilds, at a random moment, and looks at what is left."""
    source = random.Random(f"{seed} {number}")
    with tempfile.TemporaryDirectory(prefix="xcomp-kill-") as name:
        home = Path(name)
        with closing(_stores(home).create("a", {"en": _WIDTH})) as store:
            store.upsert([_point(each, 0) for each in range(_POINTS)])
        step, acknowledged, builder = _cut_short(home, source.uniform(0.1, 2.5))
        problems = ["the builder outlived its server"] if _outlives(builder) else []
        with closing(_stores(home).open("a")) as store:
            problems += _wrong(store, home, acknowledged)
            list(store.optimize())
            problems += _wrong(store, home, acknowledged)
    return {"step": step, "acknowledged": acknowledged, "problems": [f"kill {number} at {step}: {p}" for p in problems]}


def _stores(home: Path) -> EdgeStores:
    return EdgeStores(home, indexes={"turn": "integer"}, graph_from=1000)


def _point(number: int, turn: int) -> Point:
    return Point(str(uuid.UUID(int=number)), {"en": _vector(number, turn)}, {"turn": turn})


def _vector(number: int, turn: int) -> NDArray[np.float32]:
    row = np.random.default_rng([number, turn]).normal(size=_WIDTH)
    return np.asarray(row / np.linalg.norm(row), np.float32)


def _numbers(turn: int) -> range:
    """Returns the points that a turn writes: again and again others, old and new."""
    start = (turn * 37) % (2 * _POINTS)
    return range(start, start + _BATCH)


def _write(store: EdgeStore, turn: int) -> None:
    numbers = _numbers(turn)
    store.upsert([_point(number, turn) for number in numbers])
    store.delete([str(uuid.UUID(int=numbers[0]))])


def _after(turns: int) -> dict[int, int]:
    """Returns the turn that wrote each point last, once so many turns were through."""
    state = dict.fromkeys(range(_POINTS), 0)
    for turn in range(1, turns + 1):
        state |= dict.fromkeys(_numbers(turn), turn)
        del state[_numbers(turn)[0]]
    return state


def _cut_short(home: Path, after_s: float) -> tuple[str, int, int]:
    """Returns the step that was under way, the turns acknowledged, and the process that built."""
    command = [sys.executable, "-m", "tests.soak.kill_rebuild", "--work", str(home)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert worker.stdout
    first = worker.stdout.readline()
    time.sleep(after_s)
    worker.send_signal(signal.SIGKILL)
    lines = [json.loads(line) for line in [first, *worker.stdout] if line.endswith("\n")]
    worker.stdout.close()
    worker.wait()
    steps = [line["step"] for line in lines if "step" in line]
    turns = [line["turn"] for line in lines if "turn" in line]
    builders = [line["builder"] for line in lines if "builder" in line]
    return (steps or ["none"])[-1], max(turns, default=0), (builders or [0])[-1]


def _outlives(pid: int) -> bool:
    for _ in range(100):
        if not pid or not Path(f"/proc/{pid}").exists():
            return False
        time.sleep(0.05)
    return True


def _wrong(store: EdgeStore, home: Path, acknowledged: int) -> list[str]:
    """Compares with what must be there; the turn under way may be there in part."""
    expected, under_way = _after(acknowledged), set(_numbers(acknowledged + 1))
    found = {uuid.UUID(each.id).int: each for each in store.scan(vectors=True)}
    wrong = [n for n in expected.keys() ^ found.keys() if n not in under_way]
    for number, each in found.items():
        turn = each.payload["turn"]
        allowed = (expected.get(number), acknowledged + 1) if number in under_way else (expected.get(number),)
        if turn not in allowed or not np.allclose(each.vectors["en"], _vector(number, int(str(turn))), atol=1e-5):
            wrong.append(number)
    problems = [f"{len(wrong)} points are wrong, such as {wrong[0]}"] if wrong else []
    shards = [path.name for path in (home / "a").glob("shard*")]
    problems += [f"there are the shards {shards}"] if len(shards) != 1 else []
    probe = next(iter(found))
    (hits,) = store.near([VectorQuery("en", found[probe].vectors["en"], 1, exact=True)])
    return problems + (["a point does not find itself"] if not hits or hits[0].score < 0.999 else [])


def _work(home: Path) -> None:
    """Writes and rebuilds until killed; says what is done, a line each."""
    lock = threading.Lock()

    def say(**words: object) -> None:
        with lock:
            os.write(1, (json.dumps(words) + "\n").encode())

    store = _stores(home).open("a")

    def write() -> None:
        for turn in range(1, 10**6):
            _write(store, turn)
            say(turn=turn)
            time.sleep(0.005)

    threading.Thread(target=write, daemon=True).start()
    while True:
        for step in store.optimize():
            builder = store._handle.builder
            say(step=step.name, builder=builder.pid if builder else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _work(Path(sys.argv[2]))
    proof.run("kill_rebuild", prove, size=SIZE)
