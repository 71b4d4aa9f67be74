"""What is computed once: the rows of every picture, and the keys and values of prompts that begin alike.

The one idea: prompts of one article grow at their end, so a new prompt is compared, unit by unit, with those before it
and only what differs is read. Both stores are bounded in bytes; neither changes a result beyond rounding.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from xcomp_model.base import Picture
from xcomp_model.xcomposer.tokenizer import Unit

_GROWS = 0.5  # a prompt that shares so much of a kept one has outgrown it, most likely


class Features:
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


class Prefixes:
    """Prompts that were read before, as many as a budget of bytes holds beside the one that is being read."""

    def __init__(self, *, budget_bytes: int, position_bytes: int) -> None:
        """Args:
        budget_bytes: for keys and values, those of the prompt that is being read among them.
        position_bytes: keys and values of one position.
        """
        self._budget_bytes = budget_bytes
        self._position_bytes = position_bytes
        self._kept: list[Prefix] = []  # the first to leave first

    @property
    def size_bytes(self) -> int:
        """What the kept prompts take."""
        return sum(prefix.rows for prefix in self._kept) * self._position_bytes

    def take(self, units: Sequence[Unit], *, rows_of: Callable[[Unit], int]) -> Prefix:
        """Returns the longest beginning that a prompt shares with one that was read; it is the caller's own.

        A copy, unless there is no room for both: then the caller gets the one that was kept.
        """
        shared, best = max(((_shared(p.units, units), i) for i, p in enumerate(self._kept)), default=(0, -1))
        shared = min(shared, len(units) - 1)  # the last unit is read again for its scores
        if shared < 1:
            return Prefix()
        source = self._kept[best]
        if shared >= _GROWS * len(source.units):
            self._kept.insert(0, self._kept.pop(best))
        self.make_room(sum(map(rows_of, units[:shared])))
        if source in self._kept:
            return source.beginning(shared, rows_of=rows_of)
        source.crop(shared, rows_of=rows_of)
        return source

    def make_room(self, rows: int) -> None:
        """Forgets what has been outgrown, then the least recently used, until so many positions fit beside the rest."""
        while self._kept and self.size_bytes + rows * self._position_bytes > self._budget_bytes:
            del self._kept[0]

    def keep(self, prefix: Prefix) -> None:
        """Keeps a prefix for prompts to come."""
        prefix.compact()
        self.make_room(prefix.rows)
        self._kept.append(prefix)

    def clear(self) -> None:
        """Forgets everything."""
        self._kept.clear()


def _shared(a: Sequence[Unit], b: Sequence[Unit]) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count
