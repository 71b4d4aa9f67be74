"""An ingest against other programs that embed folders, the same network with random weights in each.

`taskset -c 0 python -m tests.bench.ingest_peers [--images 96] [--megapixels 12 1]`. Every peer comes from the registry
into an environment of its own below a temporary folder, which finds torch in ours; one that cannot be installed or run
says why. Their loaders of weights are told to leave the weights random, which is all that is changed of them.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import machine, photographs
from tests.bench.clip_speed import open_clip_b32

# What is installed; `--no-deps` where a peer pins a torch that is not in the registry.
PEERS: Mapping[str, Sequence[str]] = {
    "xcomp": (),
    "open_clip, its README's loop": (),
    "rclip 2.1.6": ("--no-deps", "rclip==2.1.6", "rawpy", "platformdirs", "requests", "certifi", "idna", "urllib3"),
    "clip-retrieval 2.45.0": ("clip-retrieval==2.45.0", "setuptools<81"),
}
_SCRIPTS = Path(__file__).parent / "peers"
_PATIENCE_S = 900


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--megapixels", nargs="+", type=int, default=photographs.SIZES, choices=photographs.SIZES)
    options = parser.parse_args()
    print(machine.line(f"taskset -c 0 python -m tests.bench.ingest_peers --images {options.images}"))
    with tempfile.TemporaryDirectory(prefix="xcomp-bench-") as home:
        weights = open_clip_b32(Path(home, "weights"))
        pythons = {name: _python(Path(home, f"peer-{at}"), PEERS[name]) for at, name in enumerate(PEERS)}
        for megapixels in options.megapixels:
            photos = photographs.write(Path(home, str(megapixels)), options.images, megapixels=megapixels)
            _table(pythons, photos, weights, megapixels)


def _table(pythons: Mapping[str, str], photos: Path, weights: Path, megapixels: int) -> None:
    print(f"\n| {megapixels} megapixels | images/s | xcomp against it |\n|---|---|---|", flush=True)
    ours = 0.0
    for name, python in pythons.items():
        rate = _rate(name, python, photos, weights)
        if isinstance(rate, str):
            print(f"| {name} | {rate} | |", flush=True)
            continue
        ours = ours or rate
        print(f"| {name} | {rate:.1f} | {ours / rate:.2f} |", flush=True)


def _rate(name: str, python: str, photos: Path, weights: Path) -> float | str:
    """Returns images per second, the model's load left out, or why there are none."""
    if not Path(python).exists():
        return python
    script = _SCRIPTS / f"{name.partition(' ')[0].strip(',').replace('-', '_')}.py"
    with tempfile.TemporaryDirectory(dir=photos.parent) as work:
        command = [python, str(script), str(photos), str(weights), work]
        own = {"HOME": work, "RCLIP_DATADIR": work, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
        try:
            done = _run(command, env={**os.environ, **own}, timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            return f"took over {_PATIENCE_S} s"
    if done.returncode:
        return f"cannot run: {(done.stderr.strip() or 'no word').splitlines()[-1][:150]}"
    return float(done.stdout.strip().splitlines()[-1])


def _python(home: Path, packages: Sequence[str]) -> str:
    """Returns the interpreter of an environment with some packages, or why there is none."""
    if not packages:
        return sys.executable
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = home / "bin" / "python"
    there = _run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    Path(there.stdout.strip(), "zz_torch.pth").write_text(sysconfig.get_path("purelib"))
    done = _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    return str(python) if not done.returncode else f"cannot be installed: {done.stderr.strip().splitlines()[-1][:150]}"


def _run(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout, check=False)


if __name__ == "__main__":
    main()
