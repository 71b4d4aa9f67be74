"""Which blocks of a Markdown text are inside other markup, so that they are not prose of the page itself.

The enclosing markup is an element of raw HTML, a tag of Hugo or of Liquid (Jekyll), whose content is often code, or a
fenced division (Pandoc, Docusaurus, VitePress), which is a note or a warning. Only a pair of an opening and a closing
encloses blocks; an opening without a closing does not. A new dialect is one more function of `_FINDERS`.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from xcomp_composer.document.html import strip_comments

_OPENING = re.compile(r" {0,3}(?:\{\{<\s*([\w./-]+)(?!.*/>\}\})|\{%-?\s*(\w+))")
_CLOSING = re.compile(r"\{\{<\s*/\s*([\w./-]+)|\{%-?\s*end(\w+)")
_HTML = re.compile(r" {0,3}<[a-zA-Z/!]")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)(?:\s[^<>]*)?(?<!/)>")
_ELEMENTS = frozenset({
    "aside", "blockquote", "button", "dd", "details", "dl", "dt", "figcaption", "figure", "footer", "form", "header",
    "li", "nav", "ol", "pre", "script", "select", "style", "svg", "table", "tbody", "td", "template", "textarea",
    "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_FENCE = re.compile(r"^ {0,3}:{3,}[ \t]*(\S?)", re.MULTILINE)


def find_enclosed(blocks: Sequence[str], *, may_open: Sequence[bool]) -> set[int]:
    """Returns the numbers of the enclosed blocks, including the one that closes.

    Args:
        blocks: all blocks of the text in order.
        may_open: for every block whether it is other than prose, such as raw HTML or a tag.
    """
    numbers: set[int] = set()
    for find in _FINDERS:
        end = -1
        for start, last in sorted(find(blocks, may_open)):
            numbers.update(range(max(start, end) + 1, last + 1))
            end = max(end, last)
    return numbers


def _find_generator_tags(blocks: Sequence[str], may_open: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yields the blocks of the tags of a site generator, each with the first block that closes it."""
    closings: dict[tuple[str, str], list[int]] = {}
    for number, text in enumerate(blocks):
        for tag in _CLOSING.findall(text):
            closings.setdefault(tag, []).append(number)
    last = -1  # end of the pair that is being skipped
    for number, text in enumerate(blocks):
        opening = _OPENING.match(text) if may_open[number] and number > last else None
        ends = closings.get((opening[1] or "", opening[2] or ""), []) if opening else []
        first = bisect_left(ends, number)
        if first < len(ends):
            last = ends[first]
            yield number, last


def _find_html_elements(blocks: Sequence[str], may_open: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yields the blocks of raw HTML that open an element, each with the block that closes it."""
    stack: list[tuple[str, int]] = []
    left: Counter[str] = Counter()  # how often each name is on the stack
    for number, text in enumerate(blocks):
        if not may_open[number] or not _HTML.match(text):
            continue
        for closing, name in _TAG.findall(strip_comments(text)):
            name = name.lower()
            if name in _ELEMENTS and not closing:
                stack.append((name, number))
                left[name] += 1
            while closing and left[name]:
                opened, start = stack.pop()
                left[opened] -= 1
                if opened == name:
                    yield start, number
                    break


def _find_fenced_divisions(blocks: Sequence[str], may_open: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yields the blocks with the opening line of a fenced division, each with the block of its closing line."""
    stack: list[int] = []
    for number, text in enumerate(blocks):
        for words in _FENCE.findall(text):
            if words and may_open[number]:
                stack.append(number)
            elif not words and stack:
                yield stack.pop(), number


_FINDERS = (_find_generator_tags, _find_html_elements, _find_fenced_divisions)
