"""Adds images whose bytes a caller sends: receive, decode, embed, keep, write.

Images are compared by content: a known content is not sent again, whatever its name. A file that is not a readable
image or did not arrive completely leaves nothing behind.
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
from xcomp_indexer.ingest import loader, points
from xcomp_indexer.ingest.encoder import EncodedImage, SpaceEncoder
from xcomp_indexer.ingest.loader import LoadedImage, Loader
from xcomp_indexer.ingest.scan import Entry
from xcomp_indexer.ingest.upload_dir import UploadDir, write_chunks
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.image_record import ImagePayload
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.store import Match, Point, ScoredPoint
from xcomp_indexer.store.compactor import BackgroundCompactor
from xcomp_protos.errors import ImageError, InvalidRequest

_HASH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class UploadHeader:
    """A file that a caller wants to send."""

    repository: str
    name: str  # its path at the caller
    size_bytes: int
    content_hash: str
    profile: str
    sidecar: bytes  # empty: there is no sidecar


@dataclass(frozen=True)
class UploadResult:
    """The result of an upload."""

    image_id: str
    known: bool = False  # the repository had the content already
    updated: bool = False  # the sidecar of a known content changed


class Uploads:
    """Adds uploads to the repositories of a catalog."""

    def __init__(self, catalog: RepositoryCatalog, upload_dir: UploadDir) -> None:
        self._catalog = catalog
        self._upload_dir = upload_dir
        self._lock = threading.Lock()
        self._compactors: WeakKeyDictionary[Repository, BackgroundCompactor] = WeakKeyDictionary()

    def receive(self, header: UploadHeader, chunks: Iterator[bytes]) -> UploadResult | None:
        """Adds a file; returns None if its content is needed and no chunk comes.

        Raises:
            ImageError: it is not a readable image, or its sidecar cannot be used.
            InvalidRequest: the header is not valid, or the bytes do not agree with it.
            Exhausted: there is no disk space for it.
        """
        _check_header(header)
        repository = self._catalog.get_or_create(header.repository, profile=header.profile)
        known, _ = self._find_known(repository, header)
        if known:
            return known
        first = next(chunks, None)
        if first is None:
            return None
        with self._upload_dir.create_draft(header.name) as draft:
            write_chunks(draft, chain([first], chunks), size_bytes=header.size_bytes, digest=header.content_hash)
            entry = _create_entry(draft, header.sidecar)
            encoder = self._encoder_of(repository)
            item = Loader((), encoder.prepare, image_size=repository.image_size).read(entry)
            assert item.prepared  # no content is known to the loader
            encoded = encoder.encode([item.prepared], [item.size])[0]
            with repository.placing:
                result, replaced = self._find_known(repository, header)
                if not result:
                    result = self._keep(repository, header, item, encoded)
                    repository.store.delete([each for each in replaced if each != result.image_id])
        self._compactor_of(repository).begin()
        return result

    def _compactor_of(self, repository: Repository) -> BackgroundCompactor:
        with self._lock:
            return self._compactors.setdefault(repository, BackgroundCompactor(repository.store, repository.name))

    def _keep(
        self, repository: Repository, header: UploadHeader, item: LoadedImage, encoded: EncodedImage
    ) -> UploadResult:
        path = self._upload_dir.keep(Path(item.entry.path), repository.name, header.content_hash)
        try:
            return UploadResult(
                self._write(repository, header, replace(item, entry=item.entry._replace(path=str(path))), encoded)
            )
        except BaseException:
            self._upload_dir.remove(path, repository.name)  # no image refers to it
            raise

    def _find_known(self, repository: Repository, header: UploadHeader) -> tuple[UploadResult | None, list[str]]:
        """Returns the result for a known content, and the ids of images that an upload of this content replaces.

        An earlier upload takes the sidecar that comes with this one. The file of an imported image belongs to the
        repository that it was sent to, so a new sidecar makes it needed again, and the upload replaces that image.
        """
        replaced = []
        same = Match("content_hash", (header.content_hash,))
        for point in repository.store.scan(where=same, vectors=True):
            content = ImagePayload.read(point.payload)
            if not content.uploaded:
                return UploadResult(point.id, known=True), []
            if not content.path.is_file():
                repository.store.delete([point.id])  # the file was removed: it is needed again
            elif not _changes_sidecar(header, content):
                return UploadResult(point.id, known=True), []
            elif content.path.is_relative_to(self._upload_dir.home(repository.name)):
                self._update_sidecar(repository, header, point, content)
                return UploadResult(point.id, known=True, updated=True), []
            else:
                replaced.append(point.id)
        return None, replaced

    def _update_sidecar(
        self, repository: Repository, header: UploadHeader, point: ScoredPoint, content: ImagePayload
    ) -> None:
        sidecar = _sidecar_path(content)
        with self._upload_dir.create_draft(header.name) as draft:
            raw = decode.open_image(decode.read(str(content.path)))
            draft.touch()
            facts = loader.read_facts(raw, _create_entry(draft, header.sidecar))
            entry = Entry(str(content.path), "", content.size, content.mtime_ns, int(bool(header.sidecar)))
            item = LoadedImage(entry, content.content_hash, facts, (content.width, content.height), None, content.place)
            encoded = EncodedImage(point.vectors, item.size, content.labels)
            self._write(repository, header, item, encoded)  # with its name, which may later remove the sidecar
            if header.sidecar:  # last: the next upload compares with this file
                Path(f"{draft}.json").replace(sidecar)
            else:
                sidecar.unlink(missing_ok=True)

    def _write(self, repository: Repository, header: UploadHeader, item: LoadedImage, encoded: EncodedImage) -> str:
        name = clean_text(header.name)
        entry = item.entry._replace(root=str(self._upload_dir.home(repository.name)))
        item = replace(item, entry=entry, facts={"name": name, **item.facts})
        content = points.build_payload(item, size=encoded.size, labels=encoded.labels, uploaded=name)
        image_id = points.image_id(repository.name, entry.path)
        with repository.writing:
            vectors = {space: row for space, row in encoded.vectors.items() if space in repository.record.spaces}
            repository.store.upsert([Point(image_id, vectors, content.write())])
        return image_id

    def _encoder_of(self, repository: Repository) -> SpaceEncoder:
        return SpaceEncoder([space.name for space in repository.held], partial(self._catalog.embedder, repository))


def _changes_sidecar(header: UploadHeader, content: ImagePayload) -> bool:
    """Whether an upload changes the sidecar of an image; a copy of another name without a sidecar does not."""
    sidecar = _sidecar_path(content)
    if not header.sidecar and clean_text(header.name) != content.uploaded:
        return False
    return header.sidecar != (sidecar.read_bytes() if sidecar.is_file() else b"")


def _sidecar_path(content: ImagePayload) -> Path:
    return Path(f"{content.path}.json")


def _check_header(header: UploadHeader) -> None:
    if not _HASH.fullmatch(header.content_hash):
        raise InvalidRequest(f"content_hash: {header.content_hash!r} is not BLAKE2b-128 in lower-case hex")
    if not PurePosixPath(clean_text(header.name)).name:
        raise InvalidRequest(f"name: {header.name!r:.80} names no file: send the path that it has at the caller")
    if not header.size_bytes:
        raise ImageError("the file is empty", reason="empty")
    if header.size_bytes > decode.MAX_BYTES:
        raise ImageError(f"larger than {decode.MAX_BYTES // 2**20} MiB", reason="too_large")
    if len(header.sidecar) > MAX_SIDECAR_BYTES:
        raise ImageError(f"its sidecar is larger than {MAX_SIDECAR_BYTES // 1024} KiB", reason="sidecar")


def _create_entry(file: Path, sidecar: bytes) -> Entry:
    """Returns the entry of a file, and writes the sidecar beside it."""
    status = file.stat()
    beside = Path(f"{file}.json")
    if sidecar:
        beside.write_bytes(sidecar)
    return Entry(
        str(file),
        str(file.parent),
        status.st_size,
        status.st_mtime_ns,
        int(bool(sidecar)),
        (str(beside),) if sidecar else (),
    )
