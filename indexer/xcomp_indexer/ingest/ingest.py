"""Updates a repository from folders: discover, read, embed, write and prune, as a generator of events.

Files are decoded in threads ahead of the batch that is embedded, while the previous batch is written; the look-ahead
bounds the memory. The state is in the store: stat and content hash in each point, and the failure log. A killed ingest
therefore loses only unwritten batches. Close the generator to cancel.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing

from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.images.decode import reason_of
from xcomp_indexer.ingest import failure_log, known_images, points
from xcomp_indexer.ingest.discover import PROGRESS_S, Discovery, discover, resolve_paths
from xcomp_indexer.ingest.encoder import EncodedImage, SpaceEncoder
from xcomp_indexer.ingest.events import Event, Failure, IngestRequest, Progress, Summary
from xcomp_indexer.ingest.failure_log import FailureLog
from xcomp_indexer.ingest.known_images import KnownImages, Marks
from xcomp_indexer.ingest.loader import LoadedImage, Loader
from xcomp_indexer.ingest.prune import Roots, ancestors_in, choose_protected_roots
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.ingest.writer import Writer
from xcomp_indexer.repository import image_record
from xcomp_indexer.repository.image_record import ImagePayload, printable, spelled_path
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.store import And, InSpace, Not, Or, Point, ScoredPoint
from xcomp_protos.errors import ImageError, one_line
from xcomp_protos.telemetry import api

# A known image is removed only if its file fails for one of these reasons.
_LOST = frozenset(("empty", "truncated", "not_an_image", "too_large"))
_FIELDS = tuple({*known_images.FIELDS, *failure_log.FIELDS})  # payload keys


class Ingest:
    """One run over one repository."""

    def __init__(self, repository: Repository, embedder: Callable[[str], Embedder], request: IngestRequest) -> None:
        """Args:
        repository: is updated.
        embedder: returns the embedder of a space; called only when there is something to embed.
        request: what to do.
        """
        self._repository = repository
        self._store = repository.store
        self._request = request
        self._counts: Counter[str] = Counter()
        self._started = time.monotonic()
        self._discovery_s = 0.0
        spaces = [space.name for space in repository.held]
        self._paths = resolve_paths(request)
        self._roots = Roots(self._paths)
        self._known = KnownImages(repository.name, roots=self._roots)
        self._failure_log = FailureLog(self._store, repository.name, read_only=request.dry_run)
        self._encoder = SpaceEncoder(spaces, embedder)
        self._loader = Loader(self._known, self._encoder.prepare, image_size=repository.image_size)
        self._writer = Writer(self._store, repository.writing)
        self._writing: dict[str, EncodedImage] = {}  # content hash: image that is being written

    def run(self) -> Generator[Event, None, None]:
        """Yields failures and progress, at last the summary.

        Raises:
            InvalidRequest: a path does not exist.
        """
        self._load_state()
        keep = self._failure_log.has_failed if self._request.retry_failed else None
        found = yield from discover(self._request, self._roots, self._known.select_changes, keep=keep)
        if not self._request.retry_failed:
            self._mark_missing(found)
        self._discovery_s = time.monotonic() - self._started
        self._counts["unchanged"] = found.scanned - len(found.todo)
        for path, error in found.unreadable:
            yield self._fail(path, reason=reason_of(error), message=f"cannot be read: {error.strerror}")
        if not self._request.retry_failed:
            found.todo = yield from self._report_again(found.todo)
        if self._request.dry_run:
            self._counts.update("added" if self._known.row(entry.path) is None else "updated" for entry in found.todo)
        elif found.todo:
            yield from self._add_files(found.todo, scanned=found.scanned)
        refused = self._prune(found)
        yield self._summary(found.scanned, refused)

    def _load_state(self) -> None:
        """Reads the known images and failures of the repository."""
        incomplete = _find_incomplete(self._repository)
        for point in self._store.scan(fields=_FIELDS):
            if image_record.is_failure(point):
                self._failure_log.load(point)
            else:
                self._known.add(point, complete=point.id not in incomplete)
        self._known.freeze()

    def _mark_missing(self, found: Discovery) -> None:
        """Marks the missing images: under the roots and not found, although their folder was readable."""
        missing = ~self._known.present & self._known.mark_groups(lambda group: group > 0)
        hidden = {path for path, _ in found.unreadable}
        if hidden:
            for point in self._store.get(self._known.ids(missing)):
                path = spelled_path(point.payload)
                row = self._known.row(path)
                if row is not None and any(ancestors_in(path, hidden)):
                    missing[row] = False
        self._known.missing |= missing

    def _report_again(self, todo: Sequence[Entry]) -> Generator[Failure, None, list[Entry]]:
        """Reports the files that failed before and have not changed since; returns the others."""
        rest: list[Entry] = []
        for entry in todo:
            error = self._failure_log.find_error(entry)
            if error:
                yield self._skip(entry, error)
            else:
                rest.append(entry)
        return rest

    def _add_files(self, todo: Sequence[Entry], *, scanned: int) -> Iterator[Event]:
        """Decodes, embeds and writes files that changed."""
        reported, failed = 0.0, self._counts["failed"]
        batch: list[LoadedImage] = []
        ahead = self._loader.load_ahead(todo, lambda: 2 * self._encoder.batch_size)
        with closing(self._writer) as writer, closing(ahead) as loaded:
            for entry, item in loaded:
                if isinstance(item, LoadedImage):
                    batch.append(item)
                else:
                    yield self._skip(entry, item)
                if len(batch) >= self._encoder.batch_size:
                    yield from self._write(batch)
                    batch = []
                if time.monotonic() - reported > PROGRESS_S:
                    reported = time.monotonic()
                    done = writer.written + self._counts["failed"] - failed
                    yield Progress(scanned, done, len(todo), self._rate())
            yield from self._write(batch)
            writer.wait()
        yield Progress(scanned, len(todo), len(todo), self._rate())

    def _write(self, batch: Sequence[LoadedImage]) -> Iterator[Failure]:
        """Embeds the new contents of a batch, reuses known ones, and writes all in one call."""
        encoded = self._find_known(batch)
        api.count("cache_lookups", len(encoded), "content", "hit")
        api.count("cache_lookups", len(batch) - len(encoded), "content", "miss")
        items: list[LoadedImage] = []
        for item in batch:
            try:
                items.append(item if item.prepared or item.content_hash in encoded else self._loader.read(item.entry))
            except ImageError as error:  # it changed since it was first read
                yield self._skip(item.entry, error)
        fresh = {item.content_hash: item for item in items if item.content_hash not in encoded}
        encoded |= self._encode(fresh)
        rows = [self._to_point(item, encoded[item.content_hash]) for item in items]
        replaced = [image_id for item in items for image_id in self._account(item)]
        self._writer.write(rows, replaced)
        self._writing = encoded

    def _find_known(self, batch: Sequence[LoadedImage]) -> dict[str, EncodedImage]:
        """Returns the vectors and labels of contents that the repository has already."""
        digests = {item.content_hash for item in batch}
        encoded = {digest: self._writing[digest] for digest in digests if digest in self._writing}
        holders = {self._known.holder(digest) for digest in digests - encoded.keys()} - {None}
        if holders:
            donors = self._store.get([image_id for image_id in holders if image_id], vectors=True)
            encoded |= {str(donor.payload["content_hash"]): _to_encoded_image(donor) for donor in donors}
        return {digest: each for digest, each in encoded.items() if digest in digests}  # a donor may have changed since

    def _encode(self, fresh: Mapping[str, LoadedImage]) -> dict[str, EncodedImage]:
        if not fresh:
            return {}
        prepared = [item.prepared for item in fresh.values() if item.prepared]
        self._counts["embedded"] += len(prepared)
        api.count("images", len(prepared))
        sizes = [item.size for item in fresh.values()]
        return dict(zip(fresh, self._encoder.encode(prepared, sizes), strict=True))

    def _to_point(self, item: LoadedImage, encoded: EncodedImage) -> Point:
        content = points.build_payload(item, size=encoded.size, labels=encoded.labels)
        return Point(points.image_id(self._repository.name, item.entry.path), encoded.vectors, content.write())

    def _account(self, item: LoadedImage) -> Iterator[str]:
        """Counts an image as new, updated, unchanged, or renamed; yields the id of the image that it replaces."""
        known, digest = self._known, item.content_hash
        row = known.row(item.entry.path)
        if row is not None:
            same = known.is_touched_only(row, content_hash=digest, sidecar_mtime_ns=item.entry.sidecar_mtime_ns)
            self._counts["unchanged" if same else "updated"] += 1
        elif (orphan := known.orphan(digest)) is not None:
            self._counts["renamed"] += 1
            known.missing[orphan] = False
            yield known.id(orphan)
        else:
            self._counts["added"] += 1
        known.add_content(digest, points.image_id(self._repository.name, item.entry.path))

    def _prune(self, found: Discovery) -> int:
        """Removes missing and unreadable images; returns how many removals were refused."""
        removed = self._known.ids(self._removable(found))
        self._counts["removed"] = len(removed)
        if not self._request.dry_run:
            self._store.delete(removed)
            self._failure_log.finish(found.unreadable, self._paths)
            self._store.flush()
        return 0 if self._request.prune is False else int(self._known.missing.sum()) - len(removed)

    def _removable(self, found: Discovery) -> Marks:
        known, roots = self._known, self._roots
        if self._request.prune is not None:
            return known.missing & self._request.prune
        protected = choose_protected_roots(
            missing=roots.count_by_root(known.groups(known.missing)),
            known=roots.count_by_root(known.groups()),
            present=roots.count_by_root(found.present),
        )
        return known.missing & ~known.mark_groups(lambda group: not protected.isdisjoint(roots.roots_of(group)))

    def _skip(self, entry: Entry, error: ImageError) -> Failure:
        row = self._known.row(entry.path)
        if row is not None and error.reason in _LOST:
            self._known.missing[row] = True
        return self._fail(entry.path, reason=error.reason, message=str(error), entry=entry)

    def _fail(self, path: str, *, reason: str, message: str, entry: Entry | None = None) -> Failure:
        self._counts["failed"] += 1
        api.count("image_failures", 1, reason)
        self._failure_log.add(path, reason=reason, message=one_line(message), entry=entry)
        return Failure(printable(path), reason, one_line(message))

    def _summary(self, scanned: int, refused: int) -> Summary:
        count = self._counts
        embedding = {f"embed.{space}": seconds for space, seconds in self._encoder.seconds.items() if seconds}
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
                "scan": self._discovery_s,
                "decode": self._loader.seconds,
                **embedding,
                **({"upsert": self._writer.seconds} if self._writer.written else {}),
            },
        )

    def _rate(self) -> float:
        return self._counts["embedded"] / max(time.monotonic() - self._started, 1e-9)


def _find_incomplete(repository: Repository) -> set[str]:
    """Returns the ids of images that lack a vector; a space that is being filled does not count."""
    spaces = [space.name for space in repository.held if repository.record.state(space.name) != "filling"]
    lacks_one = Or(tuple(Not(InSpace(name)) for name in spaces))
    return {point.id for point in repository.store.scan(fields=(), where=And((image_record.IMAGES, lacks_one)))}


def _to_encoded_image(donor: ScoredPoint) -> EncodedImage:
    content = ImagePayload.read(donor.payload)
    return EncodedImage(donor.vectors, (content.width, content.height), content.labels)
