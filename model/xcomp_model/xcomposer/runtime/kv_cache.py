"""What is computed once: the rows of every picture, and the keys and values of prompts that begin alike.

The one idea: prompts of one article grow at their end, so a new prompt is compared, unit by unit, with those before it
and only what differs is read. Both stores are bounded in bytes; neither changes a result beyond rounding.
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

from xcomp_model.base import Picture
from xcomp_model.xcomposer.runtime.step_batcher import FifoLock
from xcomp_model.xcomposer.tokenizer import Unit

_GROWS = 0.5  # a prompt that shares so much of a kept one has outgrown it, most likely
_LOOK_S = 0.2  # how often one who waits for room asks whether its caller is still there


class GenerationCancelled(Exception):
    """The caller wants no more."""


class ImageFeatureCache:
    """Rows of pictures under their keys, least recently used out first."""

    def __init__(self, encode: Callable[[Sequence[Picture]], Tensor], *, capacity_bytes: int, batch: int = 4) -> None:
        self._encode = encode
        self._capacity_bytes = capacity_bytes
        self._batch = batch
        self._rows: OrderedDict[str, Tensor] = OrderedDict()

    def rows(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        """Returns the rows [N, D] of every picture by its key; each is encoded once."""
        unknown = list({p.key: p for p in pictures if p.key not in self._rows}.values())
        found = {p.key: self._rows[p.key] for p in pictures if p.key in self._rows}
        for start in range(0, len(unknown), self._batch):
            batch = unknown[start : start + self._batch]
            # Copies, or one picture would keep its whole batch alive.
            found.update((p.key, rows.clone()) for p, rows in zip(batch, self._encode(batch), strict=True))
        for picture in pictures:
            self._rows[picture.key] = found[picture.key]
            self._rows.move_to_end(picture.key)
        while self.size_bytes > self._capacity_bytes:
            self._rows.popitem(last=False)
        return found

    @property
    def size_bytes(self) -> int:
        """What the kept rows take."""
        return sum(rows.nbytes for rows in self._rows.values())

    def clear(self) -> None:
        """Forgets everything."""
        self._rows.clear()


@dataclass(eq=False)
class Prefix:
    """Units that were read, with their keys and values."""

    units: list[Unit] = field(default_factory=list)
    values: DynamicCache = field(default_factory=DynamicCache)

    @property
    def rows(self) -> int:
        """Positions that were read."""
        return self.values.get_seq_length()

    def crop(self, units: int, *, rows_of: Callable[[Unit], int]) -> None:
        """Forgets all but the first units; their memory goes with the next position that is read, or with `compact`."""
        dropped = sum(rows_of(unit) for unit in self.units[units:])
        if dropped:
            self.values.crop(-dropped)
        del self.units[units:]

    def beginning(self, units: int, *, rows_of: Callable[[Unit], int]) -> "Prefix":
        """Copies the first units, with their keys and values."""
        rows = sum(map(rows_of, self.units[:units]))
        values = DynamicCache()
        for number, (_, keys, vals) in enumerate(self.layers()):
            values.update(keys[..., :rows, :], vals[..., :rows, :], number)
        return Prefix(self.units[:units], values)

    def clear(self) -> None:
        """Forgets everything."""
        self.units, self.values = [], DynamicCache()

    def compact(self) -> None:
        """Gives back what was cropped, layer by layer."""
        for layer, keys, values in self.layers():
            if keys.untyped_storage().nbytes() > keys.nbytes:
                layer.keys, layer.values = keys.clone(), values.clone()

    def layers(self) -> Iterator[tuple[DynamicLayer, Tensor, Tensor]]:
        """Yields every layer with its keys and values, [1, H, T, D] each."""
        for layer in self.values.layers:
            assert isinstance(layer, DynamicLayer)
            assert layer.keys is not None
            assert layer.values is not None
            yield layer, layer.keys, layer.values


class PrefixCache:
    """Prompts that were read before, as many as a budget of bytes holds beside those that are being read.

    Safe to use from several threads.
    """

    def __init__(self, *, budget_bytes: int, position_bytes: int) -> None:
        """Args:
        budget_bytes: for keys and values, those of the prompts that are being read among them.
        position_bytes: keys and values of one position.
        """
        self._positions = budget_bytes // position_bytes
        self._position_bytes = position_bytes
        self._queue = FifoLock()
        self._changed = threading.Condition()
        self._kept: list[Prefix] = []  # the first to leave first
        self._taken = 0  # positions that those who read may take, together

    @property
    def size_bytes(self) -> int:
        """What the kept prompts take."""
        return self._rows() * self._position_bytes

    @contextmanager
    def reading(
        self, units: Sequence[Unit], *, more: int, rows_of: Callable[[Unit], int], cancelled: Callable[[], bool]
    ) -> Iterator[Prefix]:
        """Yields the longest beginning that a prompt shares with one that was read, as the caller's own to read on.

        It is a copy, unless there is no room for both. What was read is kept for prompts to come, but for what broke
        off in the middle of a pass. Waits while others take too much of the budget.

        Args:
            units: the prompt.
            more: positions that may follow it.
            rows_of: positions of a unit.
            cancelled: whether nobody waits any more.

        Raises:
            Cancelled: while it waited.
        """
        rows = sum(map(rows_of, units)) + more
        with self._queue, self._changed:
            while self._taken and self._taken + rows > self._positions:
                if cancelled():
                    raise GenerationCancelled
                self._changed.wait(_LOOK_S)
            self._taken += rows
            prefix = self._beginning(units, rows_of)
        try:
            yield prefix
        finally:
            whole = sum(map(rows_of, prefix.units))
            with self._changed:
                self._taken -= rows
                if all(keys.shape[-2] == whole for _, keys, _ in prefix.layers()):
                    prefix.compact()
                    self._kept.append(prefix)
                self._make_room()
                self._changed.notify_all()

    def clear(self) -> None:
        """Forgets everything that nobody is reading."""
        with self._changed:
            self._kept.clear()

    def _beginning(self, units: Sequence[Unit], rows_of: Callable[[Unit], int]) -> Prefix:
        shared, best = max(((_shared(p.units, units), i) for i, p in enumerate(self._kept)), default=(0, -1))
        shared = min(shared, len(units) - 1)  # the last unit is read again for its scores
        source = self._kept[best] if shared > 0 else Prefix()
        if shared > 0 and shared >= _GROWS * len(source.units):
            self._kept.insert(0, self._kept.pop(best))
        self._make_room()
        if source in self._kept:
            return source.beginning(shared, rows_of=rows_of)
        source.crop(shared, rows_of=rows_of)
        return source

    def _make_room(self) -> None:
        """Forgets what has been outgrown, then the least recently used, until all that may be read fits."""
        while self._kept and self._rows() + self._taken > self._positions:
            del self._kept[0]

    def _rows(self) -> int:
        return sum(prefix.rows for prefix in self._kept)


class BatchedKVCache(DynamicCache):
    """The caches of several prompts in one pass of one position each: they grow apart, and are seen side by side."""

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        super().__init__()
        self._prefixes = prefixes

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Appends a position [B, H, 1, D] to each; returns keys and values [B, H, T, D], zeros behind the shorter."""
        grown = [
            prefix.values.update(key_states[i : i + 1], value_states[i : i + 1], layer_idx)
            for i, prefix in enumerate(self._prefixes)
        ]
        keys, values = zip(*grown, strict=True)
        return _side_by_side(keys), _side_by_side(values)


def _side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    longest = max(tensor.shape[-2] for tensor in tensors)
    padded = [nn.functional.pad(tensor, (0, 0, 0, longest - tensor.shape[-2])) for tensor in tensors]
    return torch.cat(padded)


def _shared(a: Sequence[Unit], b: Sequence[Unit]) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count
