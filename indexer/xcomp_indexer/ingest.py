"""Brings a repository up to date with folders: scan, decode, embed, upsert, prune, as a generator of events.

Decoding runs ahead in threads while the batch before is embedded and written; memory is bounded by the look-ahead. A
kill loses at most the batch in flight, since the state is the stat and the hash in each point and the ledger of
failures beside them. Cancelling is closing the generator.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer import ledger, record
from xcomp_indexer.decode import reason_of
from xcomp_indexer.embed import Embedder, Label
from xcomp_indexer.events import Event, Failure, Order, Progress, Summary
from xcomp_indexer.ledger import Ledger
from xcomp_indexer.library import Repository
from xcomp_indexer.load import Loaded, Loader
from xcomp_indexer.reconcile import Known, changed, missing, removable
from xcomp_indexer.scan import Entry, Scan, walk
from xcomp_indexer.store import Found, Point
from xcomp_indexer.store.payload import ImagePayload, printable
from xcomp_protos.transport import telemetry
from xcomp_protos.transport.errors import ImageError, InvalidRequest
from xcomp_protos.transport.watch import one_line

BATCH = 16  # images per forward pass; larger ones gain nothing on a CPU
PROGRESS_S = 0.25
# Failures that say of known content that it is lost; the others say nothing of it, so the image stays.
_DAMAGED = frozenset(("empty", "truncated", "not_an_image", "too_large"))

_RECALLED = tuple({*record.STAT_FIELDS, *ledger.FIELDS})  # payload keys


@dataclass(frozen=True)
class Seen:
    """What the embedders made of one content."""

    vectors: Mapping[str, NDArray[np.float32]]
    labels: Sequence[Label]
    size: tuple[int, int]


def preview(order: Order) -> Generator[Event, None, None]:
    """Says what a dry run would find for a repository that does not exist yet: everything is new.

    Raises:
        InvalidRequest: a path does not exist.
    """
    begun = time.monotonic()
    found = yield from _survey(order)
    count, seconds = len(found.entries), time.monotonic() - begun
    yield Summary(count, count, 0, 0, 0, 0, 0, 0, seconds, 0.0, {"scan": seconds})


class Ingest:
    """One run over one repository."""

    def __init__(self, repository: Repository, embedder: Callable[[str], Embedder], order: Order) -> None:
        """Args:
        repository: what is brought up to date.
        embedder: returns the embedder of a space; asked only when there is something to embed.
        order: what is to be done.
        """
        self._repository = repository
        self._store = repository.store
        self._embedder = embedder
        self._spaces = [spec.name for spec in repository.spaces]
        self._order = order
        self._roots = _roots(order)
        self._counts: Counter[str] = Counter()
        self._stages: dict[str, float] = {}
        self._started = time.monotonic()
        self._known: dict[str, Known] = {}  # by path
        self._by_hash: dict[str, str] = {}  # content hash -> id of a point that has its vectors
        self._gone: dict[str, Known] = {}  # by id: images whose file is no longer there, or no picture any more
        self._orphans: dict[str, list[str]] = {}  # content hash -> ids of images whose file is no longer there
        self._ledger = Ledger(self._store, repository.name, read_only=order.dry_run)
        self._loader = Loader(self._by_hash, image_size=repository.image_size, look_ahead=2 * BATCH)

    def run(self) -> Generator[Event, None, None]:
        """Yields failures and progress, at last the summary.

        Raises:
            InvalidRequest: a path does not exist.
        """
        with self._timed("scan"):
            found = yield from _survey(self._order)
            self._recall()
            if self._order.retry_failed:
                found = self._ledger.failed_before(found)
            else:
                self._miss(found)
            todo = changed(found.entries, self._known)
        self._counts["unchanged"] = len(found.entries) - len(todo)
        for path, error in found.unreadable:
            yield self._failed(path, reason=reason_of(error), message=f"cannot be read: {error.strerror}")
        if not self._order.retry_failed:
            todo = yield from self._named_again(todo)
        if self._order.dry_run:
            self._counts.update("updated" if entry.path in self._known else "added" for entry in todo)
        else:
            yield from self._take_in(todo, scanned=len(found.entries))
        refused = self._prune(found)
        yield self._summary(len(found.entries), refused)

    def _recall(self) -> None:
        """Reads what the repository holds."""
        for point in self._store.scan(fields=_RECALLED):
            if ledger.is_failure(point):
                self._ledger.recall(point)
                continue
            image = record.known(point, spaces=len(self._spaces))
            if "uploaded" not in point.payload:  # an upload is nowhere that a scan looks
                self._known[image.path] = image
            if image.complete:
                self._by_hash[image.content_hash] = image.id

    def _miss(self, found: Scan) -> None:
        for image in missing(found, self._known, self._roots):
            self._gone[image.id] = image
            self._orphans.setdefault(image.content_hash, []).append(image.id)

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
        batch: list[Loaded] = []
        told = 0.0
        with closing(self._loader.ahead(todo)) as loaded:
            for done, (entry, item) in enumerate(loaded, start=1):
                if isinstance(item, Loaded):
                    batch.append(item)
                else:
                    yield self._skipped(entry, item)
                if len(batch) == BATCH or done == len(todo):
                    yield from self._write(batch)
                    batch = []
                if time.monotonic() - told > PROGRESS_S or done == len(todo):
                    told = time.monotonic()
                    yield Progress(scanned, done, len(todo), self._rate())

    def _write(self, batch: Sequence[Loaded]) -> Iterator[Failure]:
        """Embeds what is new in a batch, reuses what is known, and writes it all in one go."""
        seen = self._reused(batch)
        telemetry.count("cache_lookups", len(seen), "content", "hit")
        telemetry.count("cache_lookups", len(batch) - len(seen), "content", "miss")
        items: list[Loaded] = []
        for item in batch:
            try:
                items.append(item if item.image or item.content_hash in seen else self._loader.read(item.entry))
            except ImageError as error:  # it changed since it was read first
                yield self._skipped(item.entry, error)
        seen.update(self._embedded({item.content_hash: item for item in items if item.content_hash not in seen}))
        with self._timed("upsert"), telemetry.stage("store"):
            self._store.upsert([self._point(item, seen[item.content_hash]) for item in items])
            for item in items:
                self._account(item)

    def _reused(self, batch: Sequence[Loaded]) -> dict[str, Seen]:
        """Fetches the vectors of content that the repository has already."""
        wanted = {
            item.content_hash: self._by_hash[item.content_hash] for item in batch if item.content_hash in self._by_hash
        }
        donors = self._store.get(list(wanted.values()), vectors=True) if wanted else []
        return {
            str(donor.payload["content_hash"]): _recalled(donor)
            for donor in donors
            if donor.payload["content_hash"] in wanted  # else the donor was overwritten since
        }

    def _embedded(self, fresh: Mapping[str, Loaded]) -> dict[str, Seen]:
        if not fresh:
            return {}
        images = [item.image for item in fresh.values() if item.image]
        vectors: dict[str, NDArray[np.float32]] = {}
        labels: Sequence[Sequence[Label]] = ()
        for space in self._spaces:
            embedder = self._embedder(space)  # asked each time, so that a model in use does not count as idle
            with self._timed(f"embed.{space}"):
                encoded = embedder.encode_images(images)
            vectors[space] = encoded.vectors
            labels = encoded.labels or labels
        self._counts["embedded"] += len(images)
        telemetry.count("images", len(images))
        return {
            digest: Seen({space: rows[at] for space, rows in vectors.items()}, labels[at] if labels else (), item.size)
            for at, (digest, item) in enumerate(fresh.items())
        }

    def _point(self, item: Loaded, seen: Seen) -> Point:
        content = record.payload(item, size=seen.size, labels=seen.labels, spaces=sorted(seen.vectors))
        return Point(record.image_id(self._repository.name, item.entry.path), seen.vectors, content.write())

    def _account(self, item: Loaded) -> None:
        """Counts what a written image was: new, changed, untouched, or renamed from one that is gone."""
        path, digest = item.entry.path, item.content_hash
        before = self._known.get(path)
        orphans = self._orphans.get(digest)
        if before:
            touched = before.content_hash == digest and before.sidecar_mtime_ns == item.entry.sidecar_mtime_ns
            self._counts["unchanged" if touched and before.complete else "updated"] += 1
            if self._by_hash.get(before.content_hash) == before.id:
                del self._by_hash[before.content_hash]
        elif orphans:
            self._counts["renamed"] += 1
            self._store.delete([orphans[-1]])
            del self._gone[orphans.pop()]
        else:
            self._counts["added"] += 1
        self._by_hash[digest] = record.image_id(self._repository.name, path)

    def _prune(self, found: Scan) -> int:
        """Removes what is gone and what is no picture any more; returns how many removals were refused."""
        gone = list(self._gone.values())
        allowed, refused = (gone, []) if self._order.prune else removable(gone, found, self._known, self._roots)
        if self._order.prune is False:
            allowed, refused = [], []
        self._counts["removed"] = len(allowed)
        if not self._order.dry_run:
            self._store.delete([image.id for image in allowed])
            self._ledger.settle(found, self._roots)
            self._store.flush()
        return len(refused)

    def _skipped(self, entry: Entry, error: ImageError) -> Failure:
        known = self._known.get(entry.path)
        if known and error.reason in _DAMAGED:
            self._gone[known.id] = known
        return self._failed(entry.path, reason=error.reason, message=str(error), entry=entry)

    def _failed(self, path: str, *, reason: str, message: str, entry: Entry | None = None) -> Failure:
        self._counts["failed"] += 1
        telemetry.count("image_failures", 1, reason)
        self._ledger.note(path, reason=reason, message=one_line(message), entry=entry)
        return Failure(printable(path), reason, one_line(message))

    def _summary(self, scanned: int, refused: int) -> Summary:
        count = self._counts
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
            stages={**self._stages, "decode": self._loader.seconds},
        )

    def _rate(self) -> float:
        return self._counts["embedded"] / max(time.monotonic() - self._started, 1e-9)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self._stages[stage] = self._stages.get(stage, 0.0) + time.monotonic() - begun


def _survey(order: Order) -> Generator[Progress, None, Scan]:
    """Scans, and says now and then how far it is."""
    found = Scan()
    told = time.monotonic()
    try:
        for found in walk(_roots(order), exclude=order.exclude, within=order.within):
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                yield Progress(len(found.entries), 0, 0, 0.0)
    except FileNotFoundError as error:
        raise InvalidRequest(f"paths: {printable(str(error.filename))} does not exist") from None
    except OSError as error:
        raise InvalidRequest(f"paths: {printable(str(error.filename))} cannot be read: {error.strerror}") from None
    return found


def _roots(order: Order) -> list[str]:
    return [os.path.abspath(path) for path in order.paths]  # noqa: PTH100  # as the scan does


def _recalled(donor: Found) -> Seen:
    content = ImagePayload.read(donor.payload)
    return Seen(donor.vectors, content.labels, (content.width, content.height))
