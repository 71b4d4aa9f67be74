"""HTML as blocks: which parts of the source are paragraphs, headings and images of the page itself.

Only positions come from the parser, and only while every tag is unambiguous. A paragraph counts where only plain
containers are open around it. From the first construct on that a browser might read in another way, the rest of the
source is one block that is never changed. The blocks joined are the source, character for character.
"""

import html
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import accumulate

from xcomp_composer.document.blocks import GENERATOR_SYNTAX, Block, Kind, has_prose, join_lines, split_lines
from xcomp_composer.document.elements import (
    CONTAINERS,
    ENDS_P,
    HEADINGS,
    IMAGES,
    NEVER_ENDS_P,
    RAW,
    VOID,
    is_aside,
)
from xcomp_composer.document.front_matter import count_front_matter_lines
from xcomp_composer.document.templates import find_template_ranges
from xcomp_composer.document.wordpress import WordPressBlocks

TAG = re.compile(
    r"""<[a-zA-Z][a-zA-Z0-9:-]* (?: \s+ [^\s"'<>/=]+ (?: \s*=\s* (?: "[^"]*" | '[^']*' | [^\s"'=<>`]+ ) )? )*
    \s* /?>""",
    re.VERBOSE,
)
_MARKUP_IN_TEXT = re.compile(r"<[a-zA-Z/!?]")


class _AmbiguousMarkup(Exception):
    """Markup that a browser might read in another way."""


@dataclass
class _HtmlBlock:
    start: int
    end: int
    kind: Kind
    prose: str = ""


@dataclass
class _OpenBlock:
    """A block whose end is not read yet."""

    tag: str
    start: int
    texts: list[str] = field(default_factory=list)
    has_image: bool = False


class _HtmlReader(HTMLParser):
    """Collects blocks up to the first ambiguous markup; `comments` are (start, end) of comments outside raw text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self._source = source
        self._lines = list(accumulate((len(line) + 1 for line in source.split("\n")), initial=0))
        self._stack: list[str] = []
        self._start_lines: list[int] = []  # lines of the tags on the stack
        self._are_foreign: list[bool] = []  # for the tags on the stack: whether they are other than plain containers
        self._foreign_count = 0
        self._open: _OpenBlock | None = None
        self.spans: list[_HtmlBlock] = []
        self.comments: list[tuple[int, int]] = []
        self.read_to = 0
        self.ambiguous_line: int | None = None  # from 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # signature of the library
        start, text = self._position, self.get_starttag_text() or ""
        if not TAG.fullmatch(text):
            raise _AmbiguousMarkup
        if tag in ENDS_P and self._stack[-1:] == ["p"]:
            self._pop(start)
        if self._open and tag in IMAGES:
            self._open.has_image = True
        if self._open and tag == "br":
            self._open.texts.append(" ")
        if self._open is None and not self._foreign_count and _is_block(tag, text):
            self._open = _OpenBlock(tag, start)
        if tag in VOID:
            self._finish_block(tag, start + len(text))
        else:
            self._push(tag, text)
        self.read_to = start + len(text)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:  # a browser ignores the slash of <p/>
            raise _AmbiguousMarkup
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        start = self._position
        end = self._source.find(">", start) + 1
        if self._stack[-2:] == [tag, "p"] and tag not in NEVER_ENDS_P:
            self._pop(start)
        if not self._stack or self._stack[-1] != tag or not re.fullmatch(r"</[^\s<>/]+\s*>", self._source[start:end]):
            raise _AmbiguousMarkup
        self._pop(end)
        self.read_to = end

    def handle_data(self, data: str) -> None:
        raw = bool(self._stack) and self._stack[-1] in ("script", "style")
        if raw and "<!--" in data and "<script" in data.lower():
            raise _AmbiguousMarkup
        if not raw and _MARKUP_IN_TEXT.search(data):
            raise _AmbiguousMarkup
        if self._open and not raw:
            self._open.texts.append(data)
        self.read_to = self._position + len(data)

    def handle_entityref(self, name: str) -> None:
        self._read_reference(f"&{name}")

    def handle_charref(self, name: str) -> None:
        self._read_reference(f"&#{name}")

    def handle_comment(self, data: str) -> None:
        start = self._position
        end = start + len(data) + len("<!---->")
        if self._source[start:end] != f"<!--{data}-->" or data.startswith((">", "->")) or "--!>" in data:
            raise _AmbiguousMarkup
        if not RAW.intersection(self._stack):
            self.comments.append((start, end))
        self.read_to = end

    def handle_decl(self, decl: str) -> None:
        if not decl.lower().startswith("doctype"):
            raise _AmbiguousMarkup
        self.read_to = self._position + len(decl) + len("<!>")

    def handle_pi(self, data: str) -> None:
        if self._position or not data.startswith("xml "):
            raise _AmbiguousMarkup
        self.read_to = len(data) + len("<?>")

    def finish(self) -> None:
        """Closes a paragraph that the end of the source ends; any other open element is ambiguous."""
        if self._stack[-1:] == ["p"] and self._foreign_count == 1:
            self._pop(len(self._source))
        unclosed = [line for tag, line in zip(self._stack, self._start_lines, strict=True) if tag not in CONTAINERS]
        self.ambiguous_line = next(iter(unclosed), None)

    def unknown_decl(self, data: str) -> None:  # noqa: ARG002  # signature of the library
        raise _AmbiguousMarkup

    @property
    def _position(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def _read_reference(self, text: str) -> None:
        """The semicolon of a reference is optional."""
        start = self._position
        if self._source[start + len(text) : start + len(text) + 1] == ";":
            text += ";"
        if self._open:
            self._open.texts.append(html.unescape(text))
        self.read_to = start + len(text)

    def _push(self, tag: str, text: str) -> None:
        """Opens an element; a container that is hidden or a note is not plain."""
        is_foreign = tag not in CONTAINERS or (tag in ("div", "section") and is_aside(text))
        self._stack.append(tag)
        self._start_lines.append(self.getpos()[0])
        self._are_foreign.append(is_foreign)
        self._foreign_count += is_foreign

    def _pop(self, end: int) -> None:
        """Closes the innermost element."""
        self._start_lines.pop()
        self._foreign_count -= self._are_foreign.pop()
        self._finish_block(self._stack.pop(), end)

    def _finish_block(self, tag: str, end: int) -> None:
        if not (self._open and self._open.tag == tag and not self._foreign_count):
            return
        opened, self._open = self._open, None
        self.spans.append(_classify(opened, end))


def split_html(source: str) -> list[Block]:
    """Cuts an HTML source into blocks; white space after a block belongs to it."""
    position = _measure_front_matter(source)
    blocks = [Block(Kind.FRONT_MATTER, source[:position])] if position else []
    for span in _restrict(_parse(source).spans, source):
        gap = source[position : span.start]
        if span.kind is Kind.IMAGE and not strip_comments(gap).strip():
            gap = ""  # comments before an image belong to it
        blocks += _fill_gap(blocks, gap)
        blocks.append(Block(span.kind, source[position + len(gap) : span.end], span.prose))
        position = span.end
    blocks += _fill_gap(blocks, source[position:])
    return blocks


def find_ambiguous_line(source: str) -> int | None:
    """Returns the line, from 1, from which on nothing is changed because tags are ambiguous; None if none is."""
    return _parse(source).ambiguous_line


def find_raw_ranges(source: str) -> Iterator[tuple[int, int]]:
    """Yields the ranges in which a comment is not a comment: scripts, texts of forms, values of attributes."""
    reader = _parse(source)
    position = 0
    for start, end in reader.comments:
        yield position, start
        position = end
    yield position, reader.read_to


def strip_comments(source: str) -> str:
    """Returns a source without its comments; a comment that never ends stays."""
    # A regular expression would search to the end again at every comment that never ends.
    pieces, position = [], 0
    while (start := source.find("<!--", position)) >= 0 and (end := source.find("-->", start)) >= 0:
        pieces.append(source[position:start])
        position = end + len("-->")
    return "".join([*pieces, source[position:]])


def _measure_front_matter(source: str) -> int:
    """Returns the number of characters of the front matter that a site generator reads before a page."""
    count = count_front_matter_lines(source, with_heads=False)
    return sum(map(len, split_lines(source)[:count])) if count else 0


def _restrict(spans: Sequence[_HtmlBlock], source: str) -> Iterator[_HtmlBlock]:
    """Yields the blocks; a paragraph within a template's tags, or within a block of WordPress, is no paragraph."""
    stretches: list[tuple[int, int]] = []
    for start, end in sorted(find_template_ranges(source)):
        if stretches and start <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
        else:
            stretches.append((start, end))
    wordpress = WordPressBlocks(source)
    for span in spans:
        if span.kind is Kind.PARAGRAPH:
            place = wordpress.find_end(span.start, span.end)
            if place is None or any(_is_inside(position, stretches) for position in (span.start, span.end)):
                span = _HtmlBlock(span.start, span.end, Kind.OTHER)
            else:
                span = _HtmlBlock(span.start, place, span.kind, span.prose)
        yield span


def _is_inside(position: int, stretches: Sequence[tuple[int, int]]) -> bool:
    index = bisect_left(stretches, (position, 0)) - 1
    return index >= 0 and position < stretches[index][1]


def _is_block(tag: str, text: str) -> bool:
    return tag in HEADINGS or tag in IMAGES or (tag == "p" and not is_aside(text))


def _parse(source: str) -> _HtmlReader:
    """Reads a source; its front matter is blank to the parser, so that positions stay right."""
    front = source[: _measure_front_matter(source)]
    source = re.sub(r"[^\r\n]", " ", front) + source[len(front) :]
    reader = _HtmlReader(source)
    try:
        reader.feed(source)  # without `close`, which would guess at what is unfinished
        is_read = "<" not in source[reader.read_to :]
    except (_AmbiguousMarkup, AssertionError):  # the library asserts on an invalid declaration
        is_read = False
    if is_read:
        reader.finish()
    else:
        reader.ambiguous_line = reader.getpos()[0]
    return reader


def _fill_gap(blocks: list[Block], text: str) -> Sequence[Block]:
    """Returns a block for the text between two others; white space joins the block before it."""
    if blocks and not text.strip():
        last = blocks.pop()
        return [Block(last.kind, last.text + text, last.prose)]
    return [Block(Kind.OTHER, text)] if text else []


def _classify(opened: _OpenBlock, end: int) -> _HtmlBlock:
    prose = join_lines("".join(opened.texts))
    if opened.has_image or opened.tag in IMAGES:
        return _HtmlBlock(opened.start, end, Kind.IMAGE)
    if opened.tag in HEADINGS:
        return _HtmlBlock(opened.start, end, Kind.HEADING, prose)
    if not has_prose(prose) or GENERATOR_SYNTAX.match(prose):
        return _HtmlBlock(opened.start, end, Kind.OTHER)
    return _HtmlBlock(opened.start, end, Kind.PARAGRAPH, prose)
