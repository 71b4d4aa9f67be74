"""How many processor cores this process may use."""

import math
import os
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")  # version 2: cpu.max; version 1: cpu/cpu.cfs_quota_us and cpu.cfs_period_us


def count_usable_cores(cgroup: Path = _CGROUP) -> int:
    """Returns the cores that the scheduler and the quota of the container leave to this process, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read_quota(cgroup)
    return max(1, min(cores, math.ceil(quota))) if quota else cores


def _read_quota(cgroup: Path) -> float | None:
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((cgroup / name).read_text(encoding="ascii") for name in names).split()
            quota, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):  # no such file, or "max" in place of a number
            continue
        return quota / period if quota > 0 and period > 0 else None
    return None


def has_avx2(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether this processor has AVX2, or another instruction set than x86; True if the system does not say."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    return flags is None or "avx2" in flags
