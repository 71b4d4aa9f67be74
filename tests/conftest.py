"""What many tests need: a folder to keep repositories in, and an indexer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.indexing import Indexer, serving


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder for repositories."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An empty folder for pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def indexer(home: Path) -> Iterator[Indexer]:
    """An indexer of the profile `color`."""
    with serving(home) as running:
        yield running
