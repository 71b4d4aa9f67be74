"""Reads, decodes and prepares files ahead of whoever embeds them: in threads, in order, a bounded number at a time.

It knows files and pictures; it knows no model and no store, only which contents need no decoding.
"""

import time
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from xcomp_indexer.embed import Prepared
from xcomp_indexer.images import decode, metadata
from xcomp_indexer.ingest.scan import Entry
from xcomp_protos.errors import ImageError
from xcomp_protos.machine import core_count
from xcomp_protos.telemetry import api


@dataclass(frozen=True)
class LoadedImage:
    """A file that was read and, unless its content is known, decoded and prepared."""

    entry: Entry
    content_hash: str
    facts: metadata.Metadata
    size: tuple[int, int]  # pixels, upright; unset where there is no image
    prepared: Mapping[str, Prepared] | None  # by space; None: the content is known, its vectors can be reused
    place: metadata.GeoPoint | None = None


class Loader:
    """Loads files; `seconds` counts the work of all its threads."""

    def __init__(
        self, known: Container[str], prepare: Callable[[Image.Image], Mapping[str, Prepared]], *, image_size: int
    ) -> None:
        """Args:
        known: content hashes that need no decoding; may grow while it works.
        prepare: turns a picture into what the models take; called in several threads.
        image_size: pixels, of the largest preprocessing.
        """
        self.seconds = 0.0
        self._known = known
        self._prepare = prepare
        self._image_size = image_size

    def ahead(
        self, entries: Iterable[Entry], look_ahead: Callable[[], int]
    ) -> Generator[tuple[Entry, LoadedImage | ImageError], None, None]:
        """Yields every entry with what was read, or with why it is no picture, in order.

        `look_ahead` says how many may be loaded and waiting, and may change its mind.
        """
        pool = ThreadPoolExecutor(core_count(), thread_name_prefix="decode")
        waiting: deque[tuple[Entry, Future[tuple[LoadedImage | ImageError, float]]]] = deque()
        try:
            for entry in entries:
                waiting.append((entry, pool.submit(self._load, entry)))
                while len(waiting) >= look_ahead():
                    yield self._taken(*waiting.popleft())
            while waiting:
                yield self._taken(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def read(self, entry: Entry, *, reuse: bool = False) -> LoadedImage:
        """Reads one file; with `reuse`, known content is not decoded.

        Raises:
            ImageError: it is no readable picture.
        """
        content = decode.read(entry.path)
        digest = decode.content_hash(content)
        if reuse and digest in self._known:
            raw = decode.opened(content)
            return LoadedImage(entry, digest, facts(raw, entry), (0, 0), None, metadata.place(raw))
        picture = decode.decode(content, image_size=self._image_size)
        size, place = (picture.width, picture.height), metadata.place(picture.raw)
        return LoadedImage(entry, digest, facts(picture.raw, entry), size, self._prepare(picture.image), place)

    def _load(self, entry: Entry) -> tuple[LoadedImage | ImageError, float]:
        begun = time.monotonic()
        try:
            with api.stage("decode"):
                return self.read(entry, reuse=True), time.monotonic() - begun
        except ImageError as error:
            return error, time.monotonic() - begun

    def _taken(
        self, entry: Entry, future: Future[tuple[LoadedImage | ImageError, float]]
    ) -> tuple[Entry, LoadedImage | ImageError]:
        item, seconds = future.result()
        self.seconds += seconds
        return entry, item


def facts(raw: Image.Image, entry: Entry) -> metadata.Metadata:
    """Returns what is known about an opened picture.

    Raises:
        ImageError: its sidecar cannot be used.
    """
    try:
        return metadata.of(raw, entry.path, with_sidecar=entry.sidecar_mtime_ns > 0)
    except metadata.SidecarError as error:
        raise ImageError(f"its sidecar cannot be used: {error}", reason="sidecar") from None
