"""Where the released tokenizers and key indices lie; they are fetched files and not part of the project."""

import os
from pathlib import Path

import pytest


def reference_folder(name: str) -> Path:
    """A folder under `XCOMP_REFERENCE`; the test is skipped, and says so, where the variable names none."""
    root = os.environ.get("XCOMP_REFERENCE", "")
    folder = Path(root) / name
    if not root or not folder.is_dir():
        pytest.skip(f"XCOMP_REFERENCE names no folder that holds {name}")
    return folder
