"""What many tests need: a folder to keep repositories in, and an indexer.

A worker of `make test` shares the processors with others, so each computes with one thread, as do the servers that it
starts. This is set before torch is loaded.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.indexing import Indexer, serving


def pytest_configure() -> None:
    """Forgets what a developer has set for everyday work: addresses, profiles, keys."""
    for name in list(os.environ):
        if name.startswith(("XCOMP_", "OPENAI_", "OTEL_")) and not name.startswith(("XCOMP_TEST_", "XCOMP_REFERENCE")):
            del os.environ[name]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder for repositories."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: the path of a socket must not be longer than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="xc") as folder:
        yield Path(folder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An empty folder for images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def indexer(home: Path) -> Iterator[Indexer]:
    """An indexer of the profile `color`."""
    with serving(home) as running:
        yield running
