"""What an ingest is asked, and what it tells while it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class IngestRequest:
    """What an ingest is asked to do."""

    paths: Sequence[str]  # absolute
    prune: bool | None = None  # None: remove what is gone unless that is suspiciously much
    dry_run: bool = False
    exclude: Sequence[str] = ()
    retry_failed: bool = False  # only the files that failed before
    within: Sequence[Path] = ()  # resolved folders that links may lead to; none: anywhere


@dataclass(frozen=True)
class Progress:
    """How far it is."""

    scanned: int
    done: int
    total: int  # 0 while the scan runs
    images_per_second: float
    step: str = ""  # of optimizing the store, which follows a large ingest


@dataclass(frozen=True)
class Failure:
    """A file that was skipped."""

    path: str
    reason: str
    message: str


@dataclass(frozen=True)
class Summary:
    """What came of it. Counts are images, except `scanned` and `failed`, which are files."""

    scanned: int
    added: int
    updated: int
    unchanged: int
    renamed: int
    removed: int
    failed: int
    removable: int  # those that a refused prune would have removed
    seconds: float
    images_per_second: float
    stages: Mapping[str, float]  # seconds of work, summed over threads
    notice: str = ""  # what went wrong beside, one line, and takes nothing back


Event = Progress | Failure | Summary


@dataclass(frozen=True)
class FillProgress:
    """How far a space is filled."""

    done: int
    total: int
    images_per_second: float


@dataclass(frozen=True)
class FillSummary:
    """What came of filling a space. Counts are images."""

    filled: int
    failed: int
    lacking: int  # those that still have no vector
    seconds: float


FillEvent = FillProgress | Failure | FillSummary
