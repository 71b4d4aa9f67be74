"""A small sample of the killing proof; `make soak` kills more."""

from tests.soak.kill_ingest import kill


def test_a_kill_at_a_random_moment_leaves_no_trace_after_the_next_run() -> None:
    assert kill(seed=5, number=0, new=40)["problems"] == []
