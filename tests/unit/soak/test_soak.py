"""The frame of the long proofs: steps are done once, results have one row each, `make soak` runs them all."""

import re
from pathlib import Path

from tests.soak import record
from tests.soak.proof import Steps


def test_a_proof_goes_on_where_it_was_cut_short(tmp_path: Path) -> None:
    file = tmp_path / "soak" / "steps.jsonl"
    assert Steps(file).once("round 1", lambda: [1, "a"]) == [1, "a"]
    again = Steps(file)
    assert again.once("round 1", lambda: [2, "b"]) == [1, "a"]
    again.forget()
    assert Steps(file).once("round 1", lambda: [2, "b"]) == [2, "b"]


def test_a_result_rewrites_the_row_of_its_proof_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "soak.md"
    page.write_text("# Long proofs\n\n| proof | result |\n|---|---|\n| `a` | old |\n| `b` | kept |\n\nAfter.\n")
    record.keep("a", result="holds: all", size=10_000, seed=3, seconds=61.4, page=page)
    record.keep("c", result="**fails**: one", size=5, seed=1, seconds=2, page=page)
    lines = page.read_text().splitlines()
    assert lines[:4] == ["# Long proofs", "", "| proof | result |", "|---|---|"]
    assert lines[4].startswith("| `a` | holds: all | 10,000 | 3 | 61 s | ")
    assert lines[5:] == ["| `b` | kept |", lines[6], "", "After."]
    assert lines[6].startswith("| `c` | **fails**: one | 5 | 1 | 2 s | ")


def test_make_soak_runs_every_proof() -> None:
    begins = re.compile(r"^    (proof\.)?run\(\"", re.MULTILINE)
    proofs = [path.stem for path in Path(record.__file__).parent.glob("*.py") if begins.search(path.read_text())]
    listed = re.search(r"^PROOFS :=(.*)$", (record.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed
    assert sorted(listed[1].split()) == sorted(proofs)
