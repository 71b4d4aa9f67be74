"""Blocks of WordPress: the comments that say what the HTML between them is.

An image inside another block than its own makes that block invalid for the editor. So it may follow the comment that
closes a paragraph, or stand where no block is open.
"""

import re
from bisect import bisect_right

_COMMENT = re.compile(r"<!--\s+(/?)wp:([a-z][\w/-]*)(?:\s+\{[^<>]*\})?\s+(/?)-->")
_CLOSES_PARAGRAPH = re.compile(r"\s*<!--\s+/wp:paragraph\s+-->")


class WordPressBlocks:
    """The blocks of a source."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._ends: list[int] = []  # of the comments
        self._names: list[str] = []  # of the innermost block after each comment; empty where no block is open
        stack: list[str] = []
        for comment in _COMMENT.finditer(source):
            if comment[1]:
                del stack[-1:]
            elif not comment[3]:
                stack.append(comment[2])
            self._ends.append(comment.end())
            self._names.append(stack[-1] if stack else "")

    def find_end(self, start: int, end: int) -> int | None:
        """Returns where a paragraph ends with the comment that closes it; None where no image may follow it."""
        number = bisect_right(self._ends, start) - 1
        if number < 0 or not self._names[number]:
            return end
        closing = _CLOSES_PARAGRAPH.match(self._source, end)
        is_alone = not self._source[self._ends[number] : start].strip()
        return closing.end() if self._names[number] == "paragraph" and closing and is_alone else None
