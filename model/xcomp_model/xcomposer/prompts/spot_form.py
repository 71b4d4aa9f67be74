"""The form of an answer that names places: marks of segments that may be named, each once, as many as are asked for.

The one idea: a beginning is allowed if it can still become an answer, so that whatever is drawn is one, and nothing of
it has to be guessed. How many marks are named, and how near to each other, is part of the form.
"""

import re
from collections.abc import Collection

_NUMBER = re.compile(r"<Seg(\d+)>")
_BETWEEN = frozenset({"", " ", ",", ", ", "，", "， ", "、", "、 "})  # as the releases write, and as Chinese does
_ENDS = frozenset({".", "。"})


class MarkedPlaces:
    """A `Form` of `<Seg3>, <Seg5>.`"""

    characters = frozenset("<Seg>0123456789, ，、。.")

    def __init__(self, free: Collection[int], *, count: int | None, apart: int) -> None:
        self._free = sorted(free)
        self._count = count
        self._apart = apart
        self._next: dict[str, frozenset[str]] = {}  # marks that may follow, by all that stands before

    def may_begin(self, said: str) -> bool:
        """Whether an answer may begin so."""
        before, opening, begun = said.rpartition("<")
        if not opening:
            return said in ("", " ")
        mark, closing, after = f"<{begun}".partition(">")
        marks = self._after(before)
        if not closing:
            return any(each.startswith(mark) for each in marks)
        if f"{mark}>" not in marks:
            return False
        count = len(_named(said))
        return not after or (after in _ENDS and self._is_enough(count)) or (after in _BETWEEN and self._is_open(count))

    def may_end(self, said: str) -> bool:
        """Whether that is an answer."""
        return said.endswith((">", *_ENDS)) and self.may_begin(said) and self._is_enough(len(_named(said)))

    def _after(self, before: str) -> frozenset[str]:
        """Marks that may follow; none after what is no beginning or has ended."""
        if before not in self._next:
            named = _named(before)
            is_whole = before.count("<") == len(named) and not before.endswith(tuple(_ENDS))
            goes_on = is_whole and self._is_open(len(named)) and self.may_begin(before)
            self._next[before] = frozenset(
                f"<Seg{number}>"
                for number in self._free
                if goes_on and all(abs(number - other) >= self._apart for other in named)
            )
        return self._next[before]

    def _is_enough(self, count: int) -> bool:
        return count == (self._count or max(count, 1))

    def _is_open(self, count: int) -> bool:
        return count < (self._count or len(self._free))


def _named(said: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(said)]
