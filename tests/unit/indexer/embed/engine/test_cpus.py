import os
from pathlib import Path

import pytest

from xcomp_indexer.embed.engine.cpus import count_usable_cores, has_avx2


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def test_without_a_quota_all_cores_of_the_process_count(tmp_path: Path) -> None:
    assert count_usable_cores(tmp_path) == 8
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert count_usable_cores(tmp_path) == 8


@pytest.mark.parametrize(("quota", "cores"), [(150_000, 2), (400_000, 4), (20_000, 1), (1_600_000, 8)])
def test_the_quota_of_the_container_bounds_them(tmp_path: Path, quota: int, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
    assert count_usable_cores(tmp_path) == cores


def test_a_quota_of_version_1_counts(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000\n")
    assert count_usable_cores(tmp_path) == 3
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert count_usable_cores(tmp_path) == 8


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [("flags\t\t: fpu avx avx2 fma\n", True), ("flags\t\t: fpu sse4_2\n", False), ("Features\t: asimd\n", True)],
)
def test_avx2_is_read_off_the_processors_flags(tmp_path: Path, cpuinfo: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{cpuinfo}")
    assert has_avx2(tmp_path / "cpuinfo") is expected
    assert has_avx2(tmp_path / "absent")
