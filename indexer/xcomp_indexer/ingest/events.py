"""The request of an ingest, and the events that it yields while it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class IngestRequest:
    """What an ingest must do."""

    paths: Sequence[str]  # absolute
    prune: bool | None = None  # None: remove missing images unless there are suspiciously many
    dry_run: bool = False
    exclude: Sequence[str] = ()
    retry_failed: bool = False  # only the files that failed before
    within: Sequence[Path] = ()  # resolved folders that links may lead to; empty: anywhere


@dataclass(frozen=True)
class Progress:
    """Progress of an ingest."""

    scanned: int
    done: int
    total: int  # 0 while the scan runs
    images_per_second: float
    step: str = ""  # of optimizing the store after a large ingest


@dataclass(frozen=True)
class Failure:
    """A file that was skipped."""

    path: str
    reason: str
    message: str


@dataclass(frozen=True)
class Summary:
    """Result of an ingest. Counts are images, except `scanned` and `failed`, which are files."""

    scanned: int
    added: int
    updated: int
    unchanged: int
    renamed: int
    removed: int
    failed: int
    removable: int  # images that a refused prune would have removed
    seconds: float
    images_per_second: float
    stages: Mapping[str, float]  # seconds of work, summed over threads
    notice: str = ""  # one line about a failure that does not undo the ingest


Event = Progress | Failure | Summary


@dataclass(frozen=True)
class FillProgress:
    """Progress of filling a space."""

    done: int
    total: int
    images_per_second: float


@dataclass(frozen=True)
class FillSummary:
    """Result of filling a space. Counts are images."""

    filled: int
    failed: int
    lacking: int  # images that still have no vector
    seconds: float


FillEvent = FillProgress | Failure | FillSummary
