"""What many tests need: a folder to keep repositories in, and an indexer.

A worker of `make test` shares the processors with others, so each computes with one thread, as do the servers that it
starts. This is set before torch is loaded.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
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


# Modules with one of these lines need the extra `gpu`, which installs torch.
_NEEDS_TORCH = re.compile(
    r"^(import|from) (torch|open_clip|transformers|safetensors\.torch|tests\.(clip_)?checkpoints|tests\.open_clip_tags"
    r"|tests\.service\.test_composer_models"
    r"|xcomp_model\.(xcomposer|decoding)|xcomp_indexer\.embed\.clip\.(\w+_torch|torch_\w+|pooled_attention))\b",
    re.MULTILINE,
)


class ModuleWithoutTorch(pytest.Module):
    """A file of tests that cannot be imported here; it is reported as skipped."""

    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip("needs torch: pip install 'xcomp[gpu]'", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skips the tests of torch's parts by name where torch is not installed."""
    if find_spec("torch") or not _NEEDS_TORCH.search(module_path.read_text(encoding="utf-8")):
        return None
    return ModuleWithoutTorch.from_parent(parent, path=module_path)


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
