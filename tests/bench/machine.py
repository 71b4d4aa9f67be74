"""One line that says where a figure comes from: processor, cores, memory, Python, and the command."""

import os
import platform
from pathlib import Path


def line(command: str) -> str:
    """Returns the line that every benchmark prints first."""
    return f"{name()}: `{command}`"


def name() -> str:
    """Describes this machine in a few words."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def memory(key: str) -> int:
    """Returns a figure of this process's memory in bytes, by its name in /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _processor() -> str:
    for entry in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if entry.startswith("model name"):
            return entry.partition(":")[2].strip()
    return platform.machine()
