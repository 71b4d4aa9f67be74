"""What the whole `lite` system costs: `python -m tests.bench.system`.

Start-up of the commands as ratios to the interpreter's own, and memory of all processes while indexing and illustrating
(sum of PSS). Works in a folder of its own, for minutes.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import machine

ROOT = Path(__file__).resolve().parents[2]
XCOMP = str(Path(sys.executable).with_name("xcomp"))
RUNS = 7


def main() -> None:
    """Measures and prints the tables."""
    print(machine.line("python -m tests.bench.system"))
    with tempfile.TemporaryDirectory(prefix="xcomp-bench-") as folder:
        place = Path(folder)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("XCOMP_")}
        environment["XCOMP_HOME"] = str(place / "home")
        run([sys.executable, str(ROOT / "demo" / "collect.py"), str(place / "photos")], environment)
        try:
            memory(place, environment)
            start_up(environment)
        finally:
            stop(environment)


def memory(place: Path, environment: dict[str, str]) -> None:
    """Samples the sum of PSS over our servers and commands while the system works."""
    article = ROOT / "demo" / "articles" / "two-days-without-a-plan.en.md"
    steps = {
        "index": [XCOMP, "index", str(place / "photos"), "--profile", "lite"],
        "illustrate": [XCOMP, "illustrate", str(article), "--out", str(place / "out")],
    }
    print("\n| step | seconds | peak sum of PSS, MB |\n|---|---|---|")
    for name, command in steps.items():
        seconds, peak = watched(command, environment)
        print(f"| {name} | {seconds:.1f} | {peak / 2**20:.0f} |")


def start_up(environment: dict[str, str]) -> None:
    """Times warm commands, process start to end, against importing grpc and typer alone."""
    words = iter(f"image number {number}" for number in range(10_000))  # new queries: nothing is cached
    commands: dict[str, Callable[[], list[str]]] = {
        "python -c 'import grpc, typer'": lambda: [sys.executable, "-c", "import grpc, typer"],
        "xcomp --help": lambda: [XCOMP, "--help"],
        "xcomp search, warm, new query": lambda: [XCOMP, "search", next(words), "--json"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS + 1):
        for name, command in commands.items():
            begun = time.monotonic()
            run(command(), environment)
            times[name].append(time.monotonic() - begun)
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    base = next(iter(medians.values()))
    print(f"\n| command | median of {RUNS}, s | ratio |\n|---|---|---|")
    for name, seconds in medians.items():
        print(f"| `{name}` | {seconds:.3f} | {seconds / base:.2f} |")


def run(command: Sequence[str], environment: dict[str, str]) -> str:
    """Runs a command to its end and returns what it printed."""
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} ended in {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def watched(command: Sequence[str], environment: dict[str, str]) -> tuple[float, int]:
    """Runs a command; returns its seconds and the peak of the sum of PSS in bytes."""
    peak = 0
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(0.1):
            peak = max(peak, sum(map(pss, ours(environment["XCOMP_HOME"]))))

    sampler = threading.Thread(target=sample)
    sampler.start()
    begun = time.monotonic()
    try:
        run(command, environment)
    finally:
        done.set()
        sampler.join()
    return time.monotonic() - begun, peak


def ours(home: str) -> list[int]:
    """The processes of the system whose home this is, commands included."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if f"XCOMP_HOME={home}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it ended, or is somebody else's
            continue
    return found


def pss(pid: int) -> int:
    """Proportional set size in bytes: shared pages are counted once over all processes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def stop(environment: dict[str, str]) -> None:
    """Ends the servers that the commands left warm."""
    for pid in ours(environment["XCOMP_HOME"]):
        try:
            os.kill(pid, 15)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
