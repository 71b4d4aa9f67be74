"""Which blocks of a Markdown text are inside other markup, so that they are not prose of the page itself.

The enclosing markup is an element of raw HTML, a tag of a template or site generator, whose content is often code, or a
fenced division (Pandoc, Docusaurus, VitePress, pymdownx), which is a note or a warning. Only a pair of an opening and a
closing encloses blocks; an opening without a closing does not. A new dialect is one more function of `_FINDERS`.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate

from xcomp_composer.document.elements import is_aside
from xcomp_composer.document.html import strip_comments
from xcomp_composer.document.templates import find_template_ranges

_CODE = re.compile(r"\s*(?:```|~~~)|(?: {4}|\t)")
_INLINE_CODE = re.compile(r"(`+)[^`]+\1(?!`)")
_HTML = re.compile(r" {0,3}<[a-zA-Z/!]")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)(\s[^<>]*)?(?<!/)>")
_ELEMENTS = frozenset({
    "address", "aside", "audio", "blockquote", "button", "canvas", "center", "dd", "details", "dialog", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "header", "iframe", "li", "map", "math", "menu", "nav",
    "noscript", "object", "ol", "pre", "script", "select", "style", "svg", "table", "tbody", "td", "template",
    "textarea", "tfoot", "th", "thead", "tr", "ul", "video",
})  # fmt: skip
_PLAIN_ELEMENTS = frozenset({"article", "div", "main", "p", "section", "span"})  # these enclose where they are asides
_COLON_FENCE = re.compile(r"^ {0,3}:{3,}[ \t]*(\S?)", re.MULTILINE)
_SLASH_FENCE = re.compile(r"^ {0,3}/{3,}[ \t]*(\S?)", re.MULTILINE)


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


def _find_templates(blocks: Sequence[str], may_open: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yields the blocks of the tags of a template or site generator, each with the block that closes it."""
    prose = ["" if _CODE.match(text) else _INLINE_CODE.sub("", text) for text in blocks]
    ends = list(accumulate(map(len, prose)))
    for start, end in find_template_ranges("".join(prose)):
        first, last = bisect_right(ends, start), bisect_left(ends, end)
        if first < last:
            yield first - (not may_open[first]), last


def _find_html_elements(blocks: Sequence[str], may_open: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yields the blocks of raw HTML that open an element, each with the block that closes it."""
    stack: list[tuple[str, int, bool]] = []
    left: Counter[str] = Counter()  # how often each name is on the stack
    for number, text in enumerate(blocks):
        if not may_open[number] or not _HTML.match(text):
            continue
        for closing, name, attributes in _TAG.findall(strip_comments(text)):
            name = name.lower()
            if not closing and name in _ELEMENTS | _PLAIN_ELEMENTS:
                stack.append((name, number, name in _ELEMENTS or is_aside(attributes)))
                left[name] += 1
            while closing and left[name]:
                opened, start, encloses = stack.pop()
                left[opened] -= 1
                if opened == name:
                    yield from [(start, number)] * encloses
                    break


def _find_fenced_divisions(blocks: Sequence[str], may_open: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yields the blocks with the opening line of a fenced division, each with the block of its closing line."""
    for fence in (_COLON_FENCE, _SLASH_FENCE):
        stack: list[int] = []
        for number, text in enumerate(blocks):
            for words in fence.findall(text):
                if words and may_open[number]:
                    stack.append(number)
                elif not words and stack:
                    yield stack.pop(), number
        if fence is _SLASH_FENCE and stack:  # pymdownx closes what is open at the end
            yield stack[0], len(blocks) - 1


_FINDERS = (_find_templates, _find_html_elements, _find_fenced_divisions)
