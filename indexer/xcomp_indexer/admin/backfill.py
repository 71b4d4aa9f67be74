"""Fills a space that was added to a repository: embeds every image that lacks its vector, as a generator of events.

What is to be done is asked of the store, so there is nothing to remember: a killed run is completed by the next one,
which does only what is missing. Searches and ingests go on meanwhile. A vector is written only to an image that still
has the content it was made from. Cancelling is closing the generator.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from xcomp_indexer.embed import Embedder
from xcomp_indexer.ingest.discover import PROGRESS_S
from xcomp_indexer.ingest.encoder import SpaceEncoder
from xcomp_indexer.ingest.events import Failure, FillEvent, FillProgress, FillSummary
from xcomp_indexer.ingest.loader import LoadedImage, Loader
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.repository.file_access import FileAccess
from xcomp_indexer.repository.image_record import (
    IMAGES,
    printable,
    true_path,
)
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.store import And, Filter, InSpace, Not, ScoredPoint
from xcomp_protos.errors import (
    Denied,
    ImageError,
    one_line,
)

_FIELDS = ("path", "path_bytes", "content_hash", "size", "mtime_ns")


def lacking(space: str) -> Filter:
    """The images without a vector in a space."""
    return And((IMAGES, Not(InSpace(space))))


@dataclass(frozen=True)
class _Task:
    """An image that lacks the vector."""

    id: str
    content_hash: str
    entry: Entry


class Fill:
    """One run over one space of one repository."""

    def __init__(
        self, repository: Repository, space: str, embedder: Callable[[str], Embedder], allowed: FileAccess
    ) -> None:
        """Args:
        embedder: returns the embedder of a space; asked each time, so that a model in use does not count as idle.
        allowed: says which files may be read.
        """
        self._repository = repository
        self._store = repository.store
        self._space = space
        self._embedding = SpaceEncoder([space], embedder)
        self._loader = Loader((), self._embedding.prepare, image_size=repository.record.spaces[space].image_size)
        self._allowed = allowed
        self._failures: list[Failure] = []  # not told yet
        self._failed: set[str] = set()  # ids
        self._filled = self._done = self._total = 0
        self._started = self._told = time.monotonic()

    def run(self) -> Generator[FillEvent, None, None]:
        """Yields failures and progress, at last the summary; a complete space is on standby from then on."""
        self._total = self._store.count(lacking(self._space))
        before = -1
        while self._filled > before:  # an ingest that began before the space was there may add images meanwhile
            before = self._filled
            yield from self._pass()
        left = self._store.count(lacking(self._space))
        self._store.flush()
        if not left:
            self._repository.rewrite(lambda record: record.with_complete(self._space))
        yield self._progress()
        yield FillSummary(self._filled, len(self._failed), left, time.monotonic() - self._started)

    def _pass(self) -> Iterator[FillEvent]:
        waiting: deque[_Task] = deque()
        ahead = self._loader.ahead(self._entries(waiting), lambda: 2 * self._embedding.batch_size)
        batch: list[tuple[_Task, LoadedImage]] = []
        with closing(ahead) as loaded:
            for _, item in loaded:
                task = waiting.popleft()
                if isinstance(item, ImageError):
                    self._fail(task, reason=item.reason, message=str(item))
                elif item.content_hash != task.content_hash:
                    self._fail(task, reason="changed", message="changed since it was indexed: index it again")
                else:
                    batch.append((task, item))
                if len(batch) >= self._embedding.batch_size:
                    self._write(batch)
                    batch = []
                yield from self._news()
        self._write(batch)
        yield from self._news()

    def _entries(self, waiting: "deque[_Task]") -> Iterator[Entry]:
        """Yields the files to read, and appends their tasks to `waiting`."""
        for point in self._store.scan(fields=_FIELDS, where=lacking(self._space)):
            if point.id in self._failed:
                continue
            task = _task(point)
            try:
                self._allowed.check_readable(task.entry.path)
            except Denied as error:
                self._fail(task, reason="permission", message=str(error))
            else:
                waiting.append(task)
                yield task.entry

    def _write(self, batch: Sequence[tuple[_Task, LoadedImage]]) -> None:
        if not batch:
            return
        seen = self._embedding.see([item.prepared or {} for _, item in batch], [item.size for _, item in batch])
        vectors = {task.id: each.vectors[self._space] for (task, _), each in zip(batch, seen, strict=True)}
        contents = {task.id: task.content_hash for task, _ in batch}
        with self._repository.writing:
            present = self._store.get(list(contents))
            same = [point.id for point in present if point.payload.get("content_hash") == contents[point.id]]
            self._store.set_vectors(self._space, {each: vectors[each] for each in same})
        self._filled += len(same)
        self._done += len(batch)

    def _fail(self, task: _Task, *, reason: str, message: str) -> None:
        self._failed.add(task.id)
        self._done += 1
        self._failures.append(Failure(printable(task.entry.path), reason, one_line(message)))

    def _news(self) -> Iterator[FillEvent]:
        yield from self._failures
        self._failures = []
        if time.monotonic() - self._told > PROGRESS_S:
            yield self._progress()

    def _progress(self) -> FillProgress:
        self._told = time.monotonic()
        rate = self._filled / max(self._told - self._started, 1e-9)
        return FillProgress(self._done, max(self._total, self._done), rate)


def _task(point: ScoredPoint) -> _Task:
    fields = point.payload
    # Its sidecar says nothing of a vector: 0 keeps it unread.
    entry = Entry(str(true_path(fields)), "", cast("int", fields["size"]), cast("int", fields["mtime_ns"]), 0)
    return _Task(point.id, str(fields["content_hash"]), entry)
