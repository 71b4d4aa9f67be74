"""Takes in pictures whose bytes a caller holds: receive, decode, embed, keep, write.

Content decides: what a repository holds already is not sent again, whatever its name. Nothing is kept of a file that is
no readable picture, nor of one that did not come whole.
"""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from weakref import WeakKeyDictionary

from xcomp_indexer.images import decode
from xcomp_indexer.images.metadata import MAX_SIDECAR_BYTES, clean_text
from xcomp_indexer.ingest import loader, points, upload_dir
from xcomp_indexer.ingest.encoder import EncodedImage, SpaceEncoder
from xcomp_indexer.ingest.loader import LoadedImage, Loader
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.ingest.upload_dir import UploadDir
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.image_record import ImagePayload
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.store import Match, Point, ScoredPoint
from xcomp_indexer.store.compactor import (
    BackgroundCompactor,
)
from xcomp_protos.errors import ImageError, InvalidRequest

_HASH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class UploadHeader:
    """A file that a caller has."""

    repository: str
    name: str  # the path the caller knows it by
    size_bytes: int
    content_hash: str
    profile: str
    sidecar: bytes  # empty: it has none


@dataclass(frozen=True)
class UploadResult:
    """What became of an offer."""

    image_id: str
    known: bool = False  # the content was there already
    updated: bool = False  # and its sidecar changed


class Uploads:
    """Takes offers into the repositories of a library."""

    def __init__(self, library: RepositoryCatalog, box: UploadDir) -> None:
        self._library = library
        self._inbox = box
        self._lock = threading.Lock()
        self._sealings: WeakKeyDictionary[Repository, BackgroundCompactor] = WeakKeyDictionary()

    def take(self, offer: UploadHeader, chunks: Iterator[bytes]) -> UploadResult | None:
        """Adds a file; returns None where it is needed and no chunk comes.

        Raises:
            ImageError: it is no readable picture, or its sidecar cannot be used.
            InvalidRequest: the offer makes no sense, or the bytes are not those that it promised.
            Exhausted: there is no room for it.
        """
        _check(offer)
        repository = self._library.get_or_create(offer.repository, profile=offer.profile)
        known, _ = self._known(repository, offer)
        if known:
            return known
        first = next(chunks, None)
        if first is None:
            return None
        with self._inbox.draft(offer.name) as draft:
            upload_dir.fill(draft, chain([first], chunks), size_bytes=offer.size_bytes, digest=offer.content_hash)
            entry = _entry(draft, offer.sidecar)
            embedding = self._embedding(repository)
            item = Loader((), embedding.prepare, image_size=repository.image_size).read(entry)
            assert item.prepared  # nothing is known to the loader
            seen = embedding.see([item.prepared], [item.size])[0]
            with repository.placing:
                taken, replaced = self._known(repository, offer)
                if not taken:
                    taken = self._placed(repository, offer, item, seen)
                    repository.store.delete([each for each in replaced if each != taken.image_id])
        self._sealing(repository).begin()
        return taken

    def _sealing(self, repository: Repository) -> BackgroundCompactor:
        with self._lock:
            return self._sealings.setdefault(repository, BackgroundCompactor(repository.store, repository.name))

    def _placed(
        self, repository: Repository, offer: UploadHeader, item: LoadedImage, seen: EncodedImage
    ) -> UploadResult:
        path = self._inbox.keep(Path(item.entry.path), repository.name, offer.content_hash)
        try:
            return UploadResult(
                self._write(repository, offer, replace(item, entry=item.entry._replace(path=str(path))), seen)
            )
        except BaseException:
            self._inbox.remove(path, repository.name)  # no image knows of it
            raise

    def _known(self, repository: Repository, offer: UploadHeader) -> tuple[UploadResult | None, list[str]]:
        """Finds content that is there; what was uploaded before takes the sidecar that comes with it now.

        The file of an image that was imported belongs to the repository that it was sent to. Where its sidecar is to
        change it is wanted again, and takes the place of the image that was there: of those whose ids come second.
        """
        replaced = []
        same = Match("content_hash", (offer.content_hash,))
        for point in repository.store.scan(where=same, vectors=True):
            content = ImagePayload.read(point.payload)
            if not content.uploaded:
                return UploadResult(point.id, known=True), []
            if not content.path.is_file():
                repository.store.delete([point.id])  # somebody removed the file: it is wanted again
            elif not _changes(offer, content):
                return UploadResult(point.id, known=True), []
            elif content.path.is_relative_to(self._inbox.home(repository.name)):
                self._renew(repository, offer, point, content)
                return UploadResult(point.id, known=True, updated=True), []
            else:
                replaced.append(point.id)
        return None, replaced

    def _renew(self, repository: Repository, offer: UploadHeader, point: ScoredPoint, content: ImagePayload) -> None:
        beside = _sidecar_of(content)
        with self._inbox.draft(offer.name) as draft:
            raw = decode.open_image(decode.read(str(content.path)))
            draft.touch()
            known = loader.facts(raw, _entry(draft, offer.sidecar))
            entry = Entry(str(content.path), "", content.size, content.mtime_ns, int(bool(offer.sidecar)))
            item = LoadedImage(entry, content.content_hash, known, (content.width, content.height), None, content.place)
            seen = EncodedImage(point.vectors, item.size, content.labels)
            self._write(repository, offer, item, seen)  # its name too: whose sidecar it is, may take it away
            if offer.sidecar:  # last: by the file the next upload sees whether this one came to its end
                Path(f"{draft}.json").replace(beside)
            else:
                beside.unlink(missing_ok=True)

    def _write(self, repository: Repository, offer: UploadHeader, item: LoadedImage, seen: EncodedImage) -> str:
        name = clean_text(offer.name)
        entry = item.entry._replace(root=str(self._inbox.home(repository.name)))
        item = replace(item, entry=entry, facts={"name": name, **item.facts})
        content = points.payload(item, size=seen.size, labels=seen.labels, uploaded=name)
        image_id = points.image_id(repository.name, entry.path)
        with repository.writing:
            held = {space: row for space, row in seen.vectors.items() if space in repository.record.spaces}
            repository.store.upsert([Point(image_id, held, content.write())])
        return image_id

    def _embedding(self, repository: Repository) -> SpaceEncoder:
        return SpaceEncoder([space.name for space in repository.held], partial(self._library.embedder, repository))


def _changes(offer: UploadHeader, content: ImagePayload) -> bool:
    """Whether an offer changes the sidecar of an upload; a copy of another name without one says nothing of it."""
    beside = _sidecar_of(content)
    if not offer.sidecar and clean_text(offer.name) != content.uploaded:
        return False
    return offer.sidecar != (beside.read_bytes() if beside.is_file() else b"")


def _sidecar_of(content: ImagePayload) -> Path:
    return Path(f"{content.path}.json")


def _check(offer: UploadHeader) -> None:
    if not _HASH.fullmatch(offer.content_hash):
        raise InvalidRequest(f"content_hash: {offer.content_hash!r} is no BLAKE2b-128 in lower-case hex")
    if not PurePosixPath(clean_text(offer.name)).name:
        raise InvalidRequest(f"name: {offer.name!r:.80} names no file: send the path that it has with you")
    if not offer.size_bytes:
        raise ImageError("the file is empty", reason="empty")
    if offer.size_bytes > decode.MAX_BYTES:
        raise ImageError(f"larger than {decode.MAX_BYTES // 2**20} MiB", reason="too_large")
    if len(offer.sidecar) > MAX_SIDECAR_BYTES:
        raise ImageError(f"its sidecar is larger than {MAX_SIDECAR_BYTES // 1024} KiB", reason="sidecar")


def _entry(file: Path, sidecar: bytes) -> Entry:
    """Describes a file to whoever reads it, and puts the sidecar beside it."""
    status = file.stat()
    if sidecar:
        Path(f"{file}.json").write_bytes(sidecar)
    return Entry(str(file), str(file.parent), status.st_size, status.st_mtime_ns, int(bool(sidecar)))
