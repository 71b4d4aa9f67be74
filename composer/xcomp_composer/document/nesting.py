"""Which blocks of a Markdown text something encloses, so that they are no prose of the page itself.

The one idea: only what is closed encloses. An opening that nothing closes stands alone, and so does a closing. What may
enclose are elements of raw HTML, tags of Hugo and of Liquid (Jekyll), whose content is often code, and fenced divisions
(Pandoc, Docusaurus, VitePress), which are notes and warnings.
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
    """Returns the numbers of the blocks that something encloses, the closing one among them.

    Args:
        blocks: all of the text, in its order.
        may_open: whether a block is something else than words, such as raw HTML or a tag.
    """
    numbers: set[int] = set()
    for stretches in (_find_generator_tags, _find_html_elements, _find_fenced_divisions):
        end = -1
        for start, last in sorted(stretches(blocks, may_open)):
            numbers.update(range(max(start, end) + 1, last + 1))
            end = max(end, last)
    return numbers


def _find_generator_tags(blocks: Sequence[str], may_open: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Blocks of a site generator's tags and of those that close them first."""
    closings: dict[tuple[str, str], list[int]] = {}
    for number, text in enumerate(blocks):
        for tag in _CLOSING.findall(text):
            closings.setdefault(tag, []).append(number)
    last = -1  # of the stretch that is being passed over
    for number, text in enumerate(blocks):
        opening = _OPENING.match(text) if may_open[number] and number > last else None
        ends = closings.get((opening[1] or "", opening[2] or ""), []) if opening else []
        first = bisect_left(ends, number)
        if first < len(ends):
            last = ends[first]
            yield number, last


def _find_html_elements(blocks: Sequence[str], may_open: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Blocks of raw HTML that open an element, and those that close it."""
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
    """Blocks with the opening line of a fenced division, and those with its closing one, which says nothing."""
    stack: list[int] = []
    for number, text in enumerate(blocks):
        for words in _FENCE.findall(text):
            if words and may_open[number]:
                stack.append(number)
            elif not words and stack:
                yield stack.pop(), number
