"""Reads, decodes and prepares files ahead of the forward pass: in threads, in order, a bounded number at a time.

Does not depend on a model or a store; the caller says which contents need no decoding.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from xcomp_indexer.embed.base import Prepared
from xcomp_indexer.images import decode, metadata
from xcomp_indexer.ingest.scan import Entry
from xcomp_protos.errors import ImageError, XcompError
from xcomp_protos.machine import core_count
from xcomp_protos.telemetry import api

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedImage:
    """A file that was read and, unless its content is known, decoded and prepared."""

    entry: Entry
    content_hash: str
    facts: metadata.Metadata
    size: tuple[int, int]  # pixels, upright; (0, 0) if not decoded
    prepared: Mapping[str, Prepared] | None  # by space; None: the content is known and its vectors can be reused
    location: metadata.GeoPoint | None = None


class Loader:
    """Loads files; `seconds` measures the work of all threads."""

    def __init__(
        self, known: Container[str], prepare: Callable[[Image.Image], Mapping[str, Prepared]], *, image_size: int
    ) -> None:
        """Args:
        known: content hashes that need no decoding; may grow meanwhile.
        prepare: preprocesses an image for the models; called in several threads.
        image_size: pixels of the largest preprocessing.
        """
        self.seconds = 0.0
        self._known = known
        self._prepare = prepare
        self._image_size = image_size

    def load_ahead(
        self, entries: Iterable[Entry], look_ahead: Callable[[], int]
    ) -> Generator[tuple[Entry, LoadedImage | ImageError], None, None]:
        """Yields every entry in order, with the loaded image or with the reason of its failure.

        `look_ahead` returns how many files may be loaded ahead; it is called for each file.
        """
        pool = ThreadPoolExecutor(core_count(), thread_name_prefix="decode")
        waiting: deque[tuple[Entry, Future[tuple[LoadedImage | ImageError, float]]]] = deque()
        try:
            for entry in entries:
                waiting.append((entry, pool.submit(self._load, entry)))
                while len(waiting) >= look_ahead():
                    yield self._unpack(*waiting.popleft())
            while waiting:
                yield self._unpack(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def read(self, entry: Entry, *, reuse: bool = False) -> LoadedImage:
        """Reads one file; with `reuse`, known content is not decoded.

        Raises:
            ImageError: it is not a readable image.
        """
        content = decode.read(entry.path)
        digest = decode.content_hash(content)
        if reuse and digest in self._known:
            raw = decode.open_image(content)
            return LoadedImage(entry, digest, read_facts(raw, entry), (0, 0), None, _read_location(raw, entry))
        decoded = decode.decode(content, image_size=self._image_size)
        size, location = (decoded.width, decoded.height), _read_location(decoded.raw, entry)
        return LoadedImage(entry, digest, read_facts(decoded.raw, entry), size, self._prepare(decoded.image), location)

    def _load(self, entry: Entry) -> tuple[LoadedImage | ImageError, float]:
        begun = time.monotonic()
        try:
            with api.stage("decode"):
                return self.read(entry, reuse=True), time.monotonic() - begun
        except ImageError as error:
            return error, time.monotonic() - begun
        except XcompError:  # of the model or the store, not of this file: it ends the ingest
            raise
        except Exception as error:  # noqa: BLE001  # one file must not end the ingest of the others
            _log.exception("%s", entry.path)
            reason = f"reading it failed: {type(error).__name__}: {error}".splitlines()[0][:300]
            return ImageError(reason, reason="unreadable"), time.monotonic() - begun

    def _unpack(
        self, entry: Entry, future: Future[tuple[LoadedImage | ImageError, float]]
    ) -> tuple[Entry, LoadedImage | ImageError]:
        item, seconds = future.result()
        self.seconds += seconds
        return entry, item


def read_facts(raw: Image.Image, entry: Entry) -> metadata.Metadata:
    """Returns what is known about an opened image.

    Raises:
        ImageError: its sidecar cannot be used.
    """
    try:
        return metadata.read_metadata(raw, entry.path, sidecars=entry.sidecars)
    except metadata.SidecarError as error:
        raise ImageError(f"its sidecar cannot be used: {error}", reason="sidecar") from None


def _read_location(raw: Image.Image, entry: Entry) -> metadata.GeoPoint | None:
    return metadata.read_location(raw, entry.path, entry.sidecars)
