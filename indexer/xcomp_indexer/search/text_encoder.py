"""Encodes texts with the models of a server, one forward pass per model at a time, and caches vectors of single texts.

Concurrent calls of `encode` with one text each share a forward pass. A call with several texts is a batch already and
is not merged with others, so that the same request always gives the same bits.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed.base import Embedder, Vectors
from xcomp_indexer.search.batcher import Batcher, IsCancelled, is_never_cancelled
from xcomp_protos.telemetry import api

MAX_BATCH = 32  # texts of a forward pass; more gain nothing on a CPU and make other calls wait
MAX_BATCH_CHARACTERS = 8192  # of a forward pass, seconds on a core; a longer text is encoded alone
CACHED_VECTORS = 2048  # of single texts, 4 MB at 512 dimensions
CACHED_CHARACTERS = 1000  # longer texts are rarely sent twice

Row = NDArray[np.float32]  # [D]


class _TurnLock:
    """A lock that threads get in the order in which they ask for it, so that a long request lets others in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()  # the first one has the turn

    def __enter__(self) -> None:
        turn = threading.Event()
        with self._lock:
            self._queue.append(turn)
            if self._queue[0] is turn:
                return
        turn.wait()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._queue.popleft()
            if self._queue:
                self._queue[0].set()


@dataclass(frozen=True)
class _EncodeJob:
    """The texts of a caller, at most `MAX_BATCH`."""

    embedder: Embedder
    texts: Sequence[str]


class TextEncoder:
    """Encodes texts with the models of a server and caches the latest vectors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Both by digest of the model. They hold no model, so that an idle one can be freed.
        self._batchers: dict[str, Batcher[_EncodeJob, Vectors]] = {}
        self._turns: dict[str, _TurnLock] = {}
        self._cache: OrderedDict[tuple[str, str], Row] = OrderedDict()  # by digest and text

    def encode(
        self, embedder: Embedder, texts: Sequence[str], *, is_cancelled: IsCancelled = is_never_cancelled
    ) -> Vectors:
        """Encode the texts of one caller, `[B, D]`.

        Raises:
            Exhausted: too many calls wait for this model.
            Cancelled: the caller went away while it waited.
        """
        if len(texts) == 1 and (row := self._read_cache(embedder, texts[0])) is not None:
            return row[None]
        kind = "single" if len(texts) == 1 else None
        jobs = (_EncodeJob(embedder, part) for part in _split(texts))
        batcher = self._batcher(embedder)
        rows = [batcher.submit(job, kind=kind, is_cancelled=is_cancelled) for job in jobs]
        if kind:
            self._write_cache(embedder, texts[0], rows[0][0])
        return np.concatenate(rows) if rows else np.empty((0, embedder.dimension), np.float32)

    def encode_batch(self, embedder: Embedder, texts: Sequence[str]) -> Vectors:
        """Encode at most `MAX_BATCH` single texts of different callers in this thread, all different, `[B, D]`."""
        known = {text: row for text in texts if (row := self._read_cache(embedder, text)) is not None}
        if unknown := [text for text in texts if text not in known]:
            rows = self._run_model([_EncodeJob(embedder, unknown)])[0]
            for text, row in zip(unknown, rows, strict=True):
                known[text] = row
                self._write_cache(embedder, text, row)
        return np.stack([known[text] for text in texts])

    def _batcher(self, embedder: Embedder) -> Batcher[_EncodeJob, Vectors]:
        with self._lock:
            return self._batchers.setdefault(embedder.digest, Batcher(self._run_model, max_batch=MAX_BATCH))

    def _run_model(self, jobs: Sequence[_EncodeJob]) -> list[Vectors]:
        """Encode the texts of several jobs, which are of one model, in one forward pass."""
        embedder = jobs[0].embedder
        texts = list(dict.fromkeys(text for job in jobs for text in job.texts))
        with self._lock:
            turn = self._turns.setdefault(embedder.digest, _TurnLock())
        with turn:
            vectors = dict(zip(texts, embedder.encode_texts(texts), strict=True))
        return [np.stack([vectors[text] for text in job.texts]) for job in jobs]

    def _read_cache(self, embedder: Embedder, text: str) -> Row | None:
        key = (embedder.digest, text)
        with self._lock:
            row = self._cache.get(key)
            if row is not None:
                self._cache.move_to_end(key)
        api.count("cache_lookups", 1, "text", "miss" if row is None else "hit")
        return row

    def _write_cache(self, embedder: Embedder, text: str, vector: Row) -> None:
        if len(text) > CACHED_CHARACTERS:
            return
        row: Row = vector.copy()
        row.flags.writeable = False
        with self._lock:
            self._cache[(embedder.digest, text)] = row
            while len(self._cache) > CACHED_VECTORS:
                self._cache.popitem(last=False)


def _split(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split the texts of a caller into forward passes, so that other callers never wait for all of them."""
    start, length = 0, 0
    for at, text in enumerate(texts):
        if at > start and (at - start == MAX_BATCH or length + len(text) > MAX_BATCH_CHARACTERS):
            yield texts[start:at]
            start, length = at, 0
        length += len(text)
    if texts:
        yield texts[start:]
