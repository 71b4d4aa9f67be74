"""The examples of docs/services.md, run against a real indexer with the real `lite` profile."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xcomp_protos.client import IndexerClient

ROOT = Path(__file__).resolve().parents[2]
_PYTHON = re.compile(r"<!-- tested -->\n```python\n(.*?)```", re.DOTALL)
_SHELL = re.compile(r"<!-- tested -->\n```sh\n(.*?)```", re.DOTALL)


@pytest.fixture
def indexer(tmp_path: Path) -> Iterator[str]:
    """The address of an indexer process."""
    with serving("xcomp_indexer.server.main", "--home", str(tmp_path / "home")) as address:
        yield address


@pytest.fixture
def composer(indexer: str) -> Iterator[str]:
    """The address of a composer process on that indexer."""
    with serving("xcomp_composer.server.main", "--indexer", indexer) as address:
        yield address


@contextmanager
def serving(module: str, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", module, "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said, _, address = process.stderr.readline().strip().rpartition(" ")
        assert said == "listening on"
        yield address
        process.terminate()
        process.communicate(timeout=60)


def test_examples_of_the_services_page_work(
    indexer: str, composer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    collected = tmp_path / "collected"
    subprocess.run([sys.executable, ROOT / "demo" / "collect.py", collected], check=True, capture_output=True)
    for name in ("coffee", "rocket", "chelsea"):
        for file in collected.rglob(f"*{name}*"):
            file.rename(photos / file.name)
    page = (ROOT / "docs" / "services.md").read_text(encoding="utf-8")
    examples = _PYTHON.findall(page)
    assert examples
    names = {"address": indexer, "composer_address": composer, "photos": str(photos)}  # examples continue each other
    for example in examples:
        exec(example, names)
    printed = capsys.readouterr().out
    assert "3 images" in printed
    assert "coffee" in printed
    assert "image/jpeg" in printed
    assert "composer: SERVING" in printed
    assert "illustrated by:" in printed
    assert "chosen with probability" in printed
    assert "coffee" in printed.partition("by reflection:")[2]
    with IndexerClient(indexer) as client:
        assert client.healthy()
    asked = "".join(_SHELL.findall(page)).replace("127.0.0.1:7411", indexer)
    assert "buf curl" in asked
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = subprocess.run(["sh", "-e", "-c", asked], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("grpc.health.v1.Health\n")
    assert "coffee" in told.stdout
