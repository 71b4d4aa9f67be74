"""A canned indexer for the tests of the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.fake_servers import FakeIndexer, serving


@pytest.fixture
def indexer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIndexer]:
    """The indexer that the commands of a test find in the environment."""
    fake = FakeIndexer()
    with serving(fake, tmp_path) as address:
        monkeypatch.setenv("XCOMP_INDEXER", address)
        yield fake
