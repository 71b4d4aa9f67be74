"""A small sample of the killing proofs; `make soak` kills more."""

import pytest

from tests.soak import kill_ingest, kill_rebuild


@pytest.mark.parametrize("number", [0, 1], ids=["filling", "sealing"])
def test_a_kill_at_a_random_moment_leaves_no_trace_after_the_next_run(number: int) -> None:
    assert kill_ingest.kill(seed=5, number=number, new=40)["problems"] == []


def test_a_kill_during_a_rebuild_loses_nothing() -> None:
    assert kill_rebuild.kill(seed=5, number=0)["problems"] == []
