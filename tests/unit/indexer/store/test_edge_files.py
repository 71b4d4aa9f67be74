"""Space on disk, measured while an engine replaces its files."""

import shutil
from pathlib import Path

import pytest

from xcomp_indexer.store.edge import files


def test_what_goes_away_while_it_is_measured_takes_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").write_bytes(b"x" * 10_000)
    assert files.size_bytes(tmp_path) >= 20_000
    allocated = files._allocated_bytes

    def losing(path: Path) -> int:
        if path.name == "deep":
            for name in ("a", "b"):
                shutil.rmtree(tmp_path / name, ignore_errors=True)
        return 0 if path.parent == tmp_path else allocated(path)

    monkeypatch.setattr(files, "_allocated_bytes", losing)
    assert files.size_bytes(tmp_path) == 0
