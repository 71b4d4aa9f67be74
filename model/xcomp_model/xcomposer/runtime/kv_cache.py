"""Caches of the model: the rows of each image, and the keys and values of prompts.

Prompts of one article differ only at their end. A new prompt is compared, unit by unit, with the cached ones, and only
the units behind the longest common prefix are read. Both caches are bounded in bytes, and change results by rounding
errors only.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from xcomp_model.base import CancelCheck, ImagePart
from xcomp_model.xcomposer.runtime.step_batcher import FifoLock
from xcomp_model.xcomposer.tokenizer import Unit

_OUTGROWN = 0.5  # a new prompt that shares this much of a cached one is probably its longer version
_CHECK_S = 0.2  # interval between checks for cancellation while a call waits for memory

CountRows = Callable[[Unit], int]  # positions that a unit takes


class GenerationCancelled(Exception):
    """The caller no longer waits for the answer."""


class ImageFeatureCache:
    """Rows of images by their keys; the least recently used ones are evicted first."""

    def __init__(self, encode: Callable[[Sequence[ImagePart]], Tensor], *, capacity_bytes: int, batch: int = 4) -> None:
        self._encode = encode
        self._capacity_bytes = capacity_bytes
        self._batch = batch
        self._rows: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, images: Sequence[ImagePart]) -> dict[str, Tensor]:
        """Returns the rows [N, D] of each image by its key; encodes the missing ones, each once."""
        missing = list({image.key: image for image in images if image.key not in self._rows}.values())
        found = {image.key: self._rows[image.key] for image in images if image.key in self._rows}
        for start in range(0, len(missing), self._batch):
            batch = missing[start : start + self._batch]
            # Cloned, or one image would keep its whole batch in memory.
            found.update((image.key, rows.clone()) for image, rows in zip(batch, self._encode(batch), strict=True))
        for image in images:
            self._rows[image.key] = found[image.key]
            self._rows.move_to_end(image.key)
        while self.size_bytes > self._capacity_bytes:
            self._rows.popitem(last=False)
        return found

    @property
    def size_bytes(self) -> int:
        """Memory of the cached rows."""
        return sum(rows.nbytes for rows in self._rows.values())

    def clear(self) -> None:
        """Evicts everything."""
        self._rows.clear()


@dataclass(eq=False)
class Prefix:
    """Units that the decoder has read, with their keys and values."""

    units: list[Unit] = field(default_factory=list)
    kv: DynamicCache = field(default_factory=DynamicCache)

    @property
    def rows(self) -> int:
        """Positions that were read."""
        return self.kv.get_seq_length()

    def crop(self, units: int, *, count_rows: CountRows) -> None:
        """Keeps only the first units; the memory is freed by the next position that is read, or by `compact`."""
        dropped = sum(count_rows(unit) for unit in self.units[units:])
        if dropped:
            self.kv.crop(-dropped)
        del self.units[units:]

    def copy_first(self, units: int, *, count_rows: CountRows) -> "Prefix":
        """Copies the first units, with their keys and values."""
        rows = sum(map(count_rows, self.units[:units]))
        kv = DynamicCache()
        for number, (_, keys, values) in enumerate(self.layers()):
            kv.update(keys[..., :rows, :], values[..., :rows, :], number)
        return Prefix(self.units[:units], kv)

    def clear(self) -> None:
        """Drops all units."""
        self.units, self.kv = [], DynamicCache()

    def compact(self) -> None:
        """Frees the memory of cropped positions, layer by layer."""
        for layer, keys, values in self.layers():
            if keys.untyped_storage().nbytes() > keys.nbytes:
                layer.keys, layer.values = keys.clone(), values.clone()

    def layers(self) -> Iterator[tuple[DynamicLayer, Tensor, Tensor]]:
        """Yields every layer with its keys and values, [1, H, T, D] each."""
        for layer in self.kv.layers:
            assert isinstance(layer, DynamicLayer)
            assert layer.keys is not None
            assert layer.values is not None
            yield layer, layer.keys, layer.values


class PrefixCache:
    """Prompts that were read, within a budget of bytes that the prompts being read share. Thread-safe."""

    def __init__(self, *, budget_bytes: int, position_bytes: int) -> None:
        """Args:
        budget_bytes: for all keys and values, including those of the prompts that are being read.
        position_bytes: keys and values of one position.
        """
        self._capacity = budget_bytes // position_bytes  # positions
        self._position_bytes = position_bytes
        self._admission = FifoLock()
        self._changed = threading.Condition()
        self._cached: list[Prefix] = []  # in the order of their eviction
        self._reserved = 0  # positions of the prompts that are being read, with their answers

    @property
    def size_bytes(self) -> int:
        """Memory of the cached prompts."""
        return self._cached_rows() * self._position_bytes

    @contextmanager
    def reserve(
        self, units: Sequence[Unit], *, more: int, count_rows: CountRows, is_cancelled: CancelCheck
    ) -> Iterator[Prefix]:
        """Yields the longest cached prefix of a prompt, for the caller to extend; waits until the budget has room.

        The prefix is a copy, unless there is no room for both. Afterwards the prompt is cached with all that was read
        behind it, unless a pass of the decoder was interrupted.

        Args:
            units: the prompt.
            more: positions that may follow it.
            count_rows: counts the positions of a unit.
            is_cancelled: whether the caller has left.

        Raises:
            GenerationCancelled: the caller left while it waited.
        """
        rows = sum(map(count_rows, units)) + more
        with self._admission, self._changed:
            while self._reserved and self._reserved + rows > self._capacity:
                if is_cancelled():
                    raise GenerationCancelled
                self._changed.wait(_CHECK_S)
            self._reserved += rows
            prefix = self._take_prefix(units, count_rows)
        try:
            yield prefix
        finally:
            read = sum(map(count_rows, prefix.units))
            with self._changed:
                self._reserved -= rows
                if all(keys.shape[-2] == read for _, keys, _ in prefix.layers()):
                    prefix.compact()
                    self._cached.append(prefix)
                self._evict()
                self._changed.notify_all()

    def clear(self) -> None:
        """Evicts everything that is not being read."""
        with self._changed:
            self._cached.clear()

    def _take_prefix(self, units: Sequence[Unit], count_rows: CountRows) -> Prefix:
        shared, best = max(((_count_shared(p.units, units), i) for i, p in enumerate(self._cached)), default=(0, -1))
        shared = min(shared, len(units) - 1)  # the last unit is read again for its scores
        source = self._cached[best] if shared > 0 else Prefix()
        if shared > 0 and shared >= _OUTGROWN * len(source.units):
            self._cached.insert(0, self._cached.pop(best))
        self._evict()
        if source in self._cached:
            return source.copy_first(shared, count_rows=count_rows)
        source.crop(shared, count_rows=count_rows)
        return source

    def _evict(self) -> None:
        """Evicts outgrown prompts, then the least recently used ones, until cached and reserved positions fit."""
        while self._cached and self._cached_rows() + self._reserved > self._capacity:
            del self._cached[0]

    def _cached_rows(self) -> int:
        return sum(prefix.rows for prefix in self._cached)


class BatchedKVCache(DynamicCache):
    """The caches of several prompts, for a pass that reads one position of each."""

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        super().__init__()
        self._prefixes = prefixes

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Appends a position [B, H, 1, D] to each cache; returns keys and values [B, H, T, D], padded with zeros."""
        extended = [
            prefix.kv.update(key_states[i : i + 1], value_states[i : i + 1], layer_idx)
            for i, prefix in enumerate(self._prefixes)
        ]
        keys, values = zip(*extended, strict=True)
        return _pad_and_stack(keys), _pad_and_stack(values)


def _pad_and_stack(tensors: Sequence[Tensor]) -> Tensor:
    longest = max(tensor.shape[-2] for tensor in tensors)
    padded = [nn.functional.pad(tensor, (0, 0, 0, longest - tensor.shape[-2])) for tensor in tensors]
    return torch.cat(padded)


def _count_shared(a: Sequence[Unit], b: Sequence[Unit]) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count
