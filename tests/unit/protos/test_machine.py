"""Cores and memory of this process."""

import os
from pathlib import Path

import pytest

from xcomp_protos import machine


@pytest.mark.parametrize("page_bytes", [4096, 16384])
def test_memory_is_counted_in_pages_of_the_kernel(monkeypatch: pytest.MonkeyPatch, page_bytes: int) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: "900 100 30 1 0 200 0")
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": page_bytes}.__getitem__)
    assert machine.resident_bytes() == 100 * page_bytes


def test_memory_is_0_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, encoding: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", fail)
    assert machine.resident_bytes() == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_this_process_holds_more_than_a_megabyte() -> None:
    assert machine.resident_bytes() > 2**20


def test_there_is_at_least_one_core() -> None:
    assert machine.core_count() >= 1


def test_without_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.core_count() == 1
