"""The grammar of an answer that names spots: marks of free sections, each once, as many as requested.

A text is allowed if it can still become an answer, so every drawn answer is valid and can be read without guessing. The
grammar covers the number of marks and their distance.
"""

import re
from collections.abc import Collection

_NUMBER = re.compile(r"<Seg(\d+)>")
_BETWEEN = frozenset({"", " ", ",", ", ", "，", "， ", "、", "、 "})  # as in the releases, and as usual in Chinese
_ENDS = frozenset({".", "。"})


class SpotGrammar:
    """The `AnswerGrammar` of answers such as `<Seg3>, <Seg5>.`"""

    characters = frozenset("<Seg>0123456789, ，、。.")

    def __init__(self, free: Collection[int], *, count: int | None, apart: int) -> None:
        self._free = sorted(free)
        self._count = count
        self._apart = apart
        self._next: dict[str, frozenset[str]] = {}  # marks that may follow, by the text before them

    def is_prefix(self, text: str) -> bool:
        """Whether an answer starts with this text."""
        before, bracket, started = text.rpartition("<")
        if not bracket:
            return text in ("", " ")
        mark, closed, after = f"<{started}".partition(">")
        marks = self._next_marks(before)
        if not closed:
            return any(each.startswith(mark) for each in marks)
        if f"{mark}>" not in marks:
            return False
        count = len(_numbers(text))
        return not after or (after in _ENDS and self._is_enough(count)) or (after in _BETWEEN and self._is_open(count))

    def is_complete(self, text: str) -> bool:
        """Whether this text is an answer."""
        return text.endswith((">", *_ENDS)) and self.is_prefix(text) and self._is_enough(len(_numbers(text)))

    def _next_marks(self, before: str) -> frozenset[str]:
        """Returns the marks that may follow; empty if the text is not a prefix or has ended."""
        if before not in self._next:
            numbers = _numbers(before)
            is_after_mark = before.count("<") == len(numbers) and not before.endswith(tuple(_ENDS))
            can_continue = is_after_mark and self._is_open(len(numbers)) and self.is_prefix(before)
            self._next[before] = frozenset(
                f"<Seg{number}>"
                for number in self._free
                if can_continue and all(abs(number - other) >= self._apart for other in numbers)
            )
        return self._next[before]

    def _is_enough(self, count: int) -> bool:
        return count == (self._count or max(count, 1))

    def _is_open(self, count: int) -> bool:
        return count < (self._count or len(self._free))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(text)]
