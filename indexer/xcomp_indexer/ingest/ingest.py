"""Brings a repository up to date with folders: survey, read, embed, write, prune, as a generator of events.

Files are decoded in threads ahead of the batch that is embedded, and the batch before is written meanwhile; memory is
bounded by the look-ahead. A kill loses at most the batches in flight, since the state is the stat and the hash in each
point and the ledger of failures beside them. Cancelling is closing the generator.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing

from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.images.decode import reason_of
from xcomp_indexer.ingest import failure_log, known_images
from xcomp_indexer.ingest import points as record
from xcomp_indexer.ingest.discover import PROGRESS_S, Survey, paths_of, survey
from xcomp_indexer.ingest.encoder import EncodedImage, SpaceEncoder
from xcomp_indexer.ingest.events import Event, Failure, IngestRequest, Progress, Summary
from xcomp_indexer.ingest.failure_log import FailureLog
from xcomp_indexer.ingest.known_images import KnownImages, Marks
from xcomp_indexer.ingest.loader import LoadedImage, Loader
from xcomp_indexer.ingest.prune import Roots, above, refusing
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.ingest.writer import Writer
from xcomp_indexer.repository import image_record
from xcomp_indexer.repository.image_record import ImagePayload, printable, spelled_path
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.store import And, InSpace, Not, Or, Point, ScoredPoint
from xcomp_protos.errors import (
    ImageError,
    one_line,
)
from xcomp_protos.telemetry import api

# Failures that say of known content that it is lost; the others say nothing of it, so the image stays.
_DAMAGED = frozenset(("empty", "truncated", "not_an_image", "too_large"))
_RECALLED = tuple({*known_images.FIELDS, *failure_log.FIELDS})  # payload keys


class Ingest:
    """One run over one repository."""

    def __init__(self, repository: Repository, embedder: Callable[[str], Embedder], order: IngestRequest) -> None:
        """Args:
        repository: what is brought up to date.
        embedder: returns the embedder of a space; asked only when there is something to embed.
        order: what is to be done.
        """
        self._repository = repository
        self._store = repository.store
        self._order = order
        self._counts: Counter[str] = Counter()
        self._started = time.monotonic()
        self._survey_s = 0.0
        spaces = [space.name for space in repository.held]
        self._paths = paths_of(order)
        self._roots = Roots(self._paths)
        self._held = KnownImages(repository.name, roots=self._roots)
        self._ledger = FailureLog(self._store, repository.name, read_only=order.dry_run)
        self._embedding = SpaceEncoder(spaces, embedder)
        self._loader = Loader(self._held, self._embedding.prepare, image_size=repository.image_size)
        self._writer = Writer(self._store, repository.writing)
        self._under_way: dict[str, EncodedImage] = {}  # content hash -> what is being written

    def run(self) -> Generator[Event, None, None]:
        """Yields failures and progress, at last the summary.

        Raises:
            InvalidRequest: a path does not exist.
        """
        self._recall()
        only = self._ledger.failed_before if self._order.retry_failed else None
        found = yield from survey(self._order, self._roots, self._held.changed, only=only)
        if not self._order.retry_failed:
            self._miss(found)
        self._survey_s = time.monotonic() - self._started
        self._counts["unchanged"] = found.scanned - len(found.todo)
        for path, error in found.unreadable:
            yield self._failed(path, reason=reason_of(error), message=f"cannot be read: {error.strerror}")
        if not self._order.retry_failed:
            found.todo = yield from self._named_again(found.todo)
        if self._order.dry_run:
            self._counts.update("added" if self._held.row(entry.path) is None else "updated" for entry in found.todo)
        elif found.todo:
            yield from self._take_in(found.todo, scanned=found.scanned)
        refused = self._prune(found)
        yield self._summary(found.scanned, refused)

    def _recall(self) -> None:
        """Reads what the repository holds."""
        lacking = _lacking(self._repository)
        for point in self._store.scan(fields=_RECALLED):
            if image_record.is_failure(point):
                self._ledger.recall(point)
            else:
                self._held.add(point, complete=point.id not in lacking)
        self._held.settle()

    def _miss(self, found: Survey) -> None:
        """Marks the images that are gone: under the roots and not found, though one could look there."""
        missing = ~self._held.found & self._held.under(lambda group: group > 0)
        hidden = {path for path, _ in found.unreadable}
        if hidden:
            for point in self._store.get(self._held.ids(missing)):
                path = spelled_path(point.payload)
                row = self._held.row(path)
                if row is not None and any(above(path, hidden)):
                    missing[row] = False
        self._held.gone |= missing

    def _named_again(self, todo: Sequence[Entry]) -> Generator[Failure, None, list[Entry]]:
        """Names the files that failed before and were not touched since; returns the others."""
        rest: list[Entry] = []
        for entry in todo:
            error = self._ledger.error_of(entry)
            if error:
                yield self._skipped(entry, error)
            else:
                rest.append(entry)
        return rest

    def _take_in(self, todo: Sequence[Entry], *, scanned: int) -> Iterator[Event]:
        """Decodes, embeds and writes what changed."""
        told, failed = 0.0, self._counts["failed"]
        batch: list[LoadedImage] = []
        ahead = self._loader.ahead(todo, lambda: 2 * self._embedding.batch_size)
        with closing(self._writer) as writer, closing(ahead) as loaded:
            for entry, item in loaded:
                if isinstance(item, LoadedImage):
                    batch.append(item)
                else:
                    yield self._skipped(entry, item)
                if len(batch) >= self._embedding.batch_size:
                    yield from self._write(batch)
                    batch = []
                if time.monotonic() - told > PROGRESS_S:
                    told = time.monotonic()
                    done = writer.written + self._counts["failed"] - failed
                    yield Progress(scanned, done, len(todo), self._rate())
            yield from self._write(batch)
            writer.wait()
        yield Progress(scanned, len(todo), len(todo), self._rate())

    def _write(self, batch: Sequence[LoadedImage]) -> Iterator[Failure]:
        """Embeds what is new in a batch, reuses what is known, and has it all written in one go."""
        seen = self._reused(batch)
        api.count("cache_lookups", len(seen), "content", "hit")
        api.count("cache_lookups", len(batch) - len(seen), "content", "miss")
        items: list[LoadedImage] = []
        for item in batch:
            try:
                items.append(item if item.prepared or item.content_hash in seen else self._loader.read(item.entry))
            except ImageError as error:  # it changed since it was read first
                yield self._skipped(item.entry, error)
        fresh = {item.content_hash: item for item in items if item.content_hash not in seen}
        seen |= self._seen(fresh)
        points = [self._point(item, seen[item.content_hash]) for item in items]
        replaced = [image_id for item in items for image_id in self._account(item)]
        self._writer.write(points, replaced)
        self._under_way = seen

    def _reused(self, batch: Sequence[LoadedImage]) -> dict[str, EncodedImage]:
        """Returns what is known of content that the repository has already."""
        digests = {item.content_hash for item in batch}
        seen = {digest: self._under_way[digest] for digest in digests if digest in self._under_way}
        holders = {self._held.holder(digest) for digest in digests - seen.keys()} - {None}
        if holders:
            donors = self._store.get([image_id for image_id in holders if image_id], vectors=True)
            seen |= {str(donor.payload["content_hash"]): _recalled(donor) for donor in donors}
        return {digest: each for digest, each in seen.items() if digest in digests}  # a holder may have changed since

    def _seen(self, fresh: Mapping[str, LoadedImage]) -> dict[str, EncodedImage]:
        if not fresh:
            return {}
        pictures = [item.prepared for item in fresh.values() if item.prepared]
        self._counts["embedded"] += len(pictures)
        api.count("images", len(pictures))
        sizes = [item.size for item in fresh.values()]
        return dict(zip(fresh, self._embedding.see(pictures, sizes), strict=True))

    def _point(self, item: LoadedImage, seen: EncodedImage) -> Point:
        content = record.payload(item, size=seen.size, labels=seen.labels)
        return Point(record.image_id(self._repository.name, item.entry.path), seen.vectors, content.write())

    def _account(self, item: LoadedImage) -> Iterator[str]:
        """Counts what an image is: new, changed, untouched, or renamed from one that is gone, whose id it yields."""
        held, digest = self._held, item.content_hash
        row = held.row(item.entry.path)
        if row is not None:
            same = held.is_touched_only(row, content_hash=digest, sidecar_mtime_ns=item.entry.sidecar_mtime_ns)
            self._counts["unchanged" if same else "updated"] += 1
        elif (orphan := held.orphan(digest)) is not None:
            self._counts["renamed"] += 1
            held.gone[orphan] = False
            yield held.id(orphan)
        else:
            self._counts["added"] += 1
        held.learn(digest, record.image_id(self._repository.name, item.entry.path))

    def _prune(self, found: Survey) -> int:
        """Removes what is gone and what is no picture any more; returns how many removals were refused."""
        allowed = self._removable(found)
        removed = self._held.ids(allowed)
        self._counts["removed"] = len(removed)
        if not self._order.dry_run:
            self._store.delete(removed)
            self._ledger.settle(found.unreadable, self._paths)
            self._store.flush()
        return 0 if self._order.prune is False else int(self._held.gone.sum()) - len(removed)

    def _removable(self, found: Survey) -> Marks:
        held, roots = self._held, self._roots
        if self._order.prune is not None:
            return held.gone & self._order.prune
        refused = refusing(
            roots.each(held.groups(held.gone)), held=roots.each(held.groups()), there=roots.each(found.there)
        )
        return held.gone & ~held.under(lambda group: any(root in refused for root in roots.of(group)))

    def _skipped(self, entry: Entry, error: ImageError) -> Failure:
        row = self._held.row(entry.path)
        if row is not None and error.reason in _DAMAGED:
            self._held.gone[row] = True
        return self._failed(entry.path, reason=error.reason, message=str(error), entry=entry)

    def _failed(self, path: str, *, reason: str, message: str, entry: Entry | None = None) -> Failure:
        self._counts["failed"] += 1
        api.count("image_failures", 1, reason)
        self._ledger.note(path, reason=reason, message=one_line(message), entry=entry)
        return Failure(printable(path), reason, one_line(message))

    def _summary(self, scanned: int, refused: int) -> Summary:
        count = self._counts
        embedded = {f"embed.{space}": seconds for space, seconds in self._embedding.seconds.items() if seconds}
        return Summary(
            scanned=scanned,
            added=count["added"],
            updated=count["updated"],
            unchanged=count["unchanged"],
            renamed=count["renamed"],
            removed=count["removed"],
            failed=count["failed"],
            removable=refused,
            seconds=time.monotonic() - self._started,
            images_per_second=self._rate(),
            stages={
                "scan": self._survey_s,
                "decode": self._loader.seconds,
                **embedded,
                **({"upsert": self._writer.seconds} if self._writer.written else {}),
            },
        )

    def _rate(self) -> float:
        return self._counts["embedded"] / max(time.monotonic() - self._started, 1e-9)


def _lacking(repository: Repository) -> set[str]:
    """Returns the ids of images that lack a vector; a space that is being filled does not count yet."""
    wanted = [space.name for space in repository.held if repository.record.state(space.name) != "filling"]
    missing_one = Or(tuple(Not(InSpace(name)) for name in wanted))
    return {point.id for point in repository.store.scan(fields=(), where=And((image_record.IMAGES, missing_one)))}


def _recalled(donor: ScoredPoint) -> EncodedImage:
    content = ImagePayload.read(donor.payload)
    return EncodedImage(donor.vectors, (content.width, content.height), content.labels)
