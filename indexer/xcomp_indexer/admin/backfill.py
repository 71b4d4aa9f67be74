"""Fills a space that was added to a repository: embeds every image that lacks its vector, as a generator of events.

The store says which images lack a vector, so the next run completes a killed one. Searches and ingests go on meanwhile.
A vector is written only if the image still has the content that was embedded. Close the generator to cancel.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.ingest.discover import PROGRESS_S
from xcomp_indexer.ingest.encoder import SpaceEncoder
from xcomp_indexer.ingest.events import Failure, FillEvent, FillProgress, FillSummary
from xcomp_indexer.ingest.loader import LoadedImage, Loader
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.repository.file_access import FileAccess
from xcomp_indexer.repository.image_record import IMAGES, printable, true_path
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.store import And, Filter, InSpace, Not, ScoredPoint
from xcomp_protos.errors import Denied, ImageError, one_line

_FIELDS = ("path", "path_bytes", "content_hash", "size", "mtime_ns")


def lacks_vector(space: str) -> Filter:
    """Returns the filter of images without a vector in a space."""
    return And((IMAGES, Not(InSpace(space))))


@dataclass(frozen=True)
class _Task:
    """An image that lacks the vector."""

    id: str
    content_hash: str
    entry: Entry


class Backfill:
    """One run over one space of one repository."""

    def __init__(
        self, repository: Repository, space: str, embedder: Callable[[str], Embedder], access: FileAccess
    ) -> None:
        """Args:
        embedder: returns the embedder of a space; called each time, so that a model in use does not count as idle.
        access: says which files may be read.
        """
        self._repository = repository
        self._store = repository.store
        self._space = space
        self._encoder = SpaceEncoder([space], embedder)
        self._loader = Loader((), self._encoder.prepare, image_size=repository.record.spaces[space].image_size)
        self._access = access
        self._failures: list[Failure] = []  # not yielded yet
        self._failed: set[str] = set()  # ids
        self._filled = self._done = self._total = 0
        self._started = self._reported = time.monotonic()

    def run(self) -> Generator[FillEvent, None, None]:
        """Yields failures and progress, then the summary; a complete space is then on standby."""
        self._total = self._store.count(lacks_vector(self._space))
        before = -1
        while self._filled > before:  # an ingest that began before the space was added may add images meanwhile
            before = self._filled
            yield from self._run_pass()
        left = self._store.count(lacks_vector(self._space))
        self._store.flush()
        if not left:
            self._repository.rewrite(lambda record: record.with_complete(self._space))
        yield self._progress()
        yield FillSummary(self._filled, len(self._failed), left, time.monotonic() - self._started)

    def _run_pass(self) -> Iterator[FillEvent]:
        pending: deque[_Task] = deque()
        ahead = self._loader.load_ahead(self._entries(pending), lambda: 2 * self._encoder.batch_size)
        batch: list[tuple[_Task, LoadedImage]] = []
        with closing(ahead) as loaded:
            for _, item in loaded:
                task = pending.popleft()
                if isinstance(item, ImageError):
                    self._fail(task, reason=item.reason, message=str(item))
                elif item.content_hash != task.content_hash:
                    self._fail(task, reason="changed", message="changed since it was indexed: index it again")
                else:
                    batch.append((task, item))
                if len(batch) >= self._encoder.batch_size:
                    self._write(batch)
                    batch = []
                yield from self._report()
        self._write(batch)
        yield from self._report()

    def _entries(self, pending: "deque[_Task]") -> Iterator[Entry]:
        """Yields the files to read, and appends their tasks to `pending`."""
        for point in self._store.scan(fields=_FIELDS, where=lacks_vector(self._space)):
            if point.id in self._failed:
                continue
            task = _to_task(point)
            try:
                self._access.check_readable(task.entry.path)
            except Denied as error:
                self._fail(task, reason="permission", message=str(error))
            else:
                pending.append(task)
                yield task.entry

    def _write(self, batch: Sequence[tuple[_Task, LoadedImage]]) -> None:
        if not batch:
            return
        encoded = self._encoder.encode([item.prepared or {} for _, item in batch], [item.size for _, item in batch])
        vectors = {task.id: each.vectors[self._space] for (task, _), each in zip(batch, encoded, strict=True)}
        contents = {task.id: task.content_hash for task, _ in batch}
        with self._repository.writing:
            points = self._store.get(list(contents))
            same = [point.id for point in points if point.payload.get("content_hash") == contents[point.id]]
            self._store.set_vectors(self._space, {each: vectors[each] for each in same})
        self._filled += len(same)
        self._done += len(batch)

    def _fail(self, task: _Task, *, reason: str, message: str) -> None:
        self._failed.add(task.id)
        self._done += 1
        self._failures.append(Failure(printable(task.entry.path), reason, one_line(message)))

    def _report(self) -> Iterator[FillEvent]:
        yield from self._failures
        self._failures = []
        if time.monotonic() - self._reported > PROGRESS_S:
            yield self._progress()

    def _progress(self) -> FillProgress:
        self._reported = time.monotonic()
        rate = self._filled / max(self._reported - self._started, 1e-9)
        return FillProgress(self._done, max(self._total, self._done), rate)


def _to_task(point: ScoredPoint) -> _Task:
    fields = point.payload
    # A sidecar does not change a vector; 0 keeps it unread.
    entry = Entry(str(true_path(fields)), "", cast("int", fields["size"]), cast("int", fields["mtime_ns"]), 0)
    return _Task(point.id, str(fields["content_hash"]), entry)
