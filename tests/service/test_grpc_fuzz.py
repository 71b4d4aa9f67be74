"""A sample of `tests/soak/grpc_fuzz.py`, and what no protobuf library would send."""

from pathlib import Path

import grpc
import pytest

from tests.soak import grpc_fuzz
from tests.soak.grpc_fuzz import DOCUMENTED, defects, methods


def test_random_messages_get_documented_answers_and_leave_no_trace_in_the_log() -> None:
    done = grpc_fuzz.portion(range(300), seed=1)
    assert done["wrong"] == []
    assert done["statuses"]["OK"] >= 60  # else the messages do not get past the first check
    assert sum(done["statuses"].values()) == 300
    assert set(done["statuses"]) <= DOCUMENTED


def test_the_sample_covers_every_method() -> None:
    assert len({method.full_name for method in methods()}) >= 19


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "method=Search request=1 defect", "x qzx7 y"])
def test_the_search_for_defects_finds_them(line: str, tmp_path: Path) -> None:
    assert defects(f"one\n{line}\ntwo")
    assert not defects("method=Search status=OK latency_ms=1.0 request=abc")
    assert grpc.StatusCode.UNKNOWN.name not in DOCUMENTED
