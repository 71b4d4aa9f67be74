"""What is computed once: the rows of every picture, and the keys and values of prompts that begin alike.

The one idea: prompts of one article grow at their end, so a new prompt is compared, unit by unit, with those before it
and only what differs is read. Both stores are bounded; neither changes a result beyond rounding.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from transformers import DynamicCache

from xcomp_model.base import Picture
from xcomp_model.xcomposer.tokenizer import Unit

PREFIX_SLOTS = 2  # prompts that are kept; each may grow to the full context
_WORTH_KEEPING = 0.5  # share of a prompt's cache that a new prompt must share to take it over


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


@dataclass
class Prefix:
    """Units that were read, with their keys and values; `rows` counts positions."""

    units: list[Unit] = field(default_factory=list)
    values: DynamicCache = field(default_factory=DynamicCache)

    def crop(self, units: int, *, rows_of: Callable[[Unit], int]) -> None:
        """Forgets all but the first units."""
        dropped = sum(rows_of(unit) for unit in self.units[units:])
        if dropped:
            self.values.crop(-dropped)
        del self.units[units:]


class Prefixes:
    """The last few prompts that were read."""

    def __init__(self, *, slots: int = PREFIX_SLOTS) -> None:
        self._slots = slots
        self._kept: list[Prefix] = []  # the most recently used last

    def take(self, units: Sequence[Unit], *, rows_of: Callable[[Unit], int]) -> Prefix:
        """Returns the prefix that shares most with a prompt, cropped to what they share; it is no longer kept."""
        shared, best = max(((_shared(p.units, units), i) for i, p in enumerate(self._kept)), default=(0, -1))
        is_worth = best >= 0 and shared >= _WORTH_KEEPING * len(self._kept[best].units)
        if not is_worth and len(self._kept) < self._slots:
            return Prefix()
        prefix = self._kept.pop(best if is_worth else 0)
        shared = _shared(prefix.units, units)
        prefix.crop(min(shared, len(units) - 1), rows_of=rows_of)  # the last unit is read again for its scores
        return prefix

    def keep(self, prefix: Prefix) -> None:
        """Keeps a prefix for prompts to come."""
        self._kept.append(prefix)
        del self._kept[: -self._slots]

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
