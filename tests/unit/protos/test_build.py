"""The build id and the version."""

import os
import tomllib
from pathlib import Path

import pytest

from xcomp_protos import build


def test_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())
    assert project["project"]["version"] == build.VERSION


def test_build_id_changes_with_a_touched_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "somepackage"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(build, "PACKAGES", ("somepackage",))
    before = build.build_id()
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_text("")
    assert build.build_id() == before
    os.utime(package / "__init__.py", (1, 1))
    assert build.build_id() != before
