"""Texts to vectors for calls that come at the same time: one forward pass serves all single texts that wait.

A call of several texts is a batch already and stays one, so that the same request gives the same bits whoever else is
there.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed.base import Embedder, Vectors
from xcomp_indexer.search.batcher import Batcher, Gone, never_cancelled
from xcomp_protos.telemetry import api

AT_ONCE = 32  # texts of a forward pass; more gain nothing on a CPU and would keep others waiting
LENGTH_AT_ONCE = 8192  # characters of a forward pass, seconds on a core; a longer text has one of its own
KEPT = 2048  # vectors of single texts that are remembered, 4 MB at 512 dimensions
KEPT_CHARACTERS = 1000  # longer texts are not asked twice

Row = NDArray[np.float32]  # [D]


@dataclass(frozen=True)
class _ForwardPass:
    """A caller's texts, at most `AT_ONCE`."""

    embedder: Embedder
    texts: Sequence[str]


class TextEncoder:
    """Encodes texts with the models of a server, and remembers the latest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By digest of the model. They hold no model: an idle one must be free to go.
        self._lanes: dict[str, Batcher[_ForwardPass, Vectors]] = {}
        self._kept: OrderedDict[tuple[str, str], Row] = OrderedDict()  # by digest and text

    def encode(self, embedder: Embedder, texts: Sequence[str], *, gone: Gone = never_cancelled) -> Vectors:
        """Embeds texts of one caller, `[B, D]`; the caller whom `gone` calls gone is dropped while it waits.

        Raises:
            Exhausted: too many wait for this model already.
            Cancelled: the caller went away.
        """
        if len(texts) == 1:
            return self.encode_singles(embedder, texts, gone=gone)
        rows = [self._lane(embedder).result(_ForwardPass(embedder, part), gone=gone) for part in _parts(texts)]
        return np.concatenate(rows) if rows else np.empty((0, embedder.dimension), np.float32)

    def encode_singles(self, embedder: Embedder, texts: Sequence[str], *, gone: Gone = never_cancelled) -> Vectors:
        """Embeds texts of different callers, at most `AT_ONCE` and all different, `[B, D]`; raises as `encode` does."""
        known = {text: row for text in texts if (row := self._remembered(embedder, text)) is not None}
        unknown = [text for text in texts if text not in known]
        if unknown:
            kind = "single" if len(unknown) == 1 else None
            rows = self._lane(embedder).result(_ForwardPass(embedder, unknown), kind=kind, gone=gone)
            known |= {text: self._remember(embedder, text, row) for text, row in zip(unknown, rows, strict=True)}
        return np.stack([known[text] for text in texts])

    def _lane(self, embedder: Embedder) -> Batcher[_ForwardPass, Vectors]:
        with self._lock:
            return self._lanes.setdefault(embedder.digest, Batcher(_passed, at_once=AT_ONCE))

    def _remembered(self, embedder: Embedder, text: str) -> Row | None:
        key = (embedder.digest, text)
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
        api.count("cache_lookups", 1, "text", "miss" if known is None else "hit")
        return known

    def _remember(self, embedder: Embedder, text: str, vector: Row) -> Row:
        row: Row = vector.copy()
        row.flags.writeable = False
        if len(text) <= KEPT_CHARACTERS:
            with self._lock:
                self._kept[(embedder.digest, text)] = row
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        return row


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cuts the texts of a caller into what goes through a model at once: nobody waits longer, nor leaves later."""
    start, length = 0, 0
    for at, text in enumerate(texts):
        if at > start and (at - start == AT_ONCE or length + len(text) > LENGTH_AT_ONCE):
            yield texts[start:at]
            start, length = at, 0
        length += len(text)
    if texts:
        yield texts[start:]


def _passed(passes: Sequence[_ForwardPass]) -> list[Vectors]:
    """Makes one forward pass of several; they are of one model."""
    texts = list(dict.fromkeys(text for each in passes for text in each.texts))
    vectors = dict(zip(texts, passes[0].embedder.encode_texts(texts), strict=True))
    return [np.stack([vectors[text] for text in each.texts]) for each in passes]
