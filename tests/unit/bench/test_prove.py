"""The proof that users run on their weights, tried on made-up ones."""

import sys
from pathlib import Path

import pytest

from tests.bench import prove
from tests.checkpoints import write_checkpoint


@pytest.mark.parametrize("version", [1, 2])
def test_the_proof_runs_through_and_writes_its_report(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, report = write_checkpoint(version, tmp_path / "tiny"), tmp_path / "report.md"
    monkeypatch.setattr(sys, "argv", ["prove", str(folder), str(report)])
    assert prove.main() == 0, report.read_text(encoding="utf-8")
    text = report.read_text(encoding="utf-8")
    for wanted in ("## fp32", "## bf16", "probability on the letters", "with and without cache", "headroom"):
        assert wanted in text


def test_the_proof_fails_where_the_model_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "report.md"
    monkeypatch.setattr(sys, "argv", ["prove", str(tmp_path), str(report)])
    assert prove.main() == 1
    assert "FAILED" in report.read_text(encoding="utf-8")
