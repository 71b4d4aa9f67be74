"""HTML as blocks: which stretches of the source are paragraphs, headings and images that a reader sees one by one.

The one idea: only positions come from the parser, and only while every tag is beyond doubt. A paragraph counts where
nothing but plain containers is open around it; from the first construct on that a browser might read otherwise, the
rest of the source is one block that nobody touches. The blocks joined are the source, character for character.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import accumulate

from xcomp_composer.document.blocks import GENERATOR_SYNTAX, Block, Kind, has_prose, join_lines

_CONTAINERS = frozenset({"html", "body", "main", "article", "section", "div"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_IMAGES = frozenset({"figure", "picture", "img"})
_VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"
})  # fmt: skip  # https://html.spec.whatwg.org, 13.1.2
_RAW = frozenset(
    {"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "noscript", "plaintext"}
)
# What ends a paragraph whose end tag is left out (13.1.2.4), but for tables: old pages let them stand in paragraphs.
_ENDS_P = _HEADINGS | {
    "address", "article", "aside", "blockquote", "details", "div", "dl", "fieldset", "figcaption", "figure", "footer",
    "form", "header", "hgroup", "hr", "main", "menu", "nav", "ol", "p", "pre", "search", "section", "ul",
}  # fmt: skip
_NEVER_ENDS_P = frozenset({"a", "audio", "del", "ins", "map", "noscript", "video"})
TAG = re.compile(
    r"""<[a-zA-Z][a-zA-Z0-9:-]* (?: \s+ [^\s"'<>/=]+ (?: \s*=\s* (?: "[^"]*" | '[^']*' | [^\s"'=<>`]+ ) )? )*
    \s* /?>""",
    re.VERBOSE,
)
_MARKUP_IN_TEXT = re.compile(r"<[a-zA-Z/!?]")


class _AmbiguousMarkup(Exception):
    """A browser might read on in another way."""


@dataclass
class _HtmlBlock:
    start: int
    end: int
    kind: Kind
    prose: str = ""


@dataclass
class _OpenBlock:
    """A block whose end has not come yet."""

    tag: str
    start: int
    words: list[str] = field(default_factory=list)
    has_image: bool = False


class _HtmlReader(HTMLParser):
    """Notes spans until a doubt; `comments` are (start, end) of comments outside raw text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self._source = source
        self._lines = list(accumulate((len(line) + 1 for line in source.split("\n")), initial=0))
        self._stack: list[str] = []
        self._begun: list[int] = []  # lines of the tags on the stack
        self._open: _OpenBlock | None = None
        self.spans: list[_HtmlBlock] = []
        self.comments: list[tuple[int, int]] = []
        self.read_to = 0
        self.doubt: int | None = None  # line of the first one, from 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 the library's
        start, text = self._at, self.get_starttag_text() or ""
        if not TAG.fullmatch(text):
            raise _AmbiguousMarkup
        if tag in _ENDS_P and self._stack[-1:] == ["p"]:
            self._pop(start)
        if self._open and tag in _IMAGES:
            self._open.has_image = True
        if self._open and tag == "br":
            self._open.words.append(" ")
        if self._open is None and self._is_plain and (tag == "p" or tag in _HEADINGS or tag in _IMAGES):
            self._open = _OpenBlock(tag, start)
        if tag in _VOID:
            self._closed(tag, start + len(text))
        else:
            self._stack.append(tag)
            self._begun.append(self.getpos()[0])
        self.read_to = start + len(text)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:  # to a browser the slash of <p/> says nothing
            raise _AmbiguousMarkup
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        start = self._at
        end = self._source.find(">", start) + 1
        if self._stack[-2:] == [tag, "p"] and tag not in _NEVER_ENDS_P:
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
            self._open.words.append(data)
        self.read_to = self._at + len(data)

    def handle_entityref(self, name: str) -> None:
        self._reference(f"&{name}")

    def handle_charref(self, name: str) -> None:
        self._reference(f"&#{name}")

    def handle_comment(self, data: str) -> None:
        start = self._at
        end = start + len(data) + len("<!---->")
        if self._source[start:end] != f"<!--{data}-->" or data.startswith((">", "->")) or "--!>" in data:
            raise _AmbiguousMarkup
        if not _RAW.intersection(self._stack):
            self.comments.append((start, end))
        self.read_to = end

    def handle_decl(self, decl: str) -> None:
        if not decl.lower().startswith("doctype"):
            raise _AmbiguousMarkup
        self.read_to = self._at + len(decl) + len("<!>")

    def handle_pi(self, data: str) -> None:
        if self._at or not data.startswith("xml "):
            raise _AmbiguousMarkup
        self.read_to = len(data) + len("<?>")

    def finish(self) -> None:
        """Ends a paragraph that the end of the source ends; notes a doubt where something else is open."""
        if self._stack[-1:] == ["p"] and _CONTAINERS.issuperset(self._stack[:-1]):
            self._pop(len(self._source))
        lost = [line for tag, line in zip(self._stack, self._begun, strict=True) if tag not in _CONTAINERS]
        self.doubt = next(iter(lost), None)

    def unknown_decl(self, data: str) -> None:  # noqa: ARG002  # the library's
        raise _AmbiguousMarkup

    @property
    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    @property
    def _is_plain(self) -> bool:
        return _CONTAINERS.issuperset(self._stack)

    def _reference(self, text: str) -> None:
        """A reference may stand without its semicolon."""
        start = self._at
        if self._source[start + len(text) : start + len(text) + 1] == ";":
            text += ";"
        if self._open:
            self._open.words.append(html.unescape(text))
        self.read_to = start + len(text)

    def _pop(self, end: int) -> None:
        """Takes the innermost element as closed."""
        self._begun.pop()
        self._closed(self._stack.pop(), end)

    def _closed(self, tag: str, end: int) -> None:
        if not (self._open and self._open.tag == tag and self._is_plain):
            return
        opened, self._open = self._open, None
        self.spans.append(_classify(opened, end))


def split_html(source: str) -> list[Block]:
    """Cuts a source into blocks; blank space after a block belongs to it."""
    blocks: list[Block] = []
    position = 0
    for span in _parse(source).spans:
        blocks += _fill_gap(blocks, source[position : span.start])
        blocks.append(Block(span.kind, source[span.start : span.end], span.prose))
        position = span.end
    blocks += _fill_gap(blocks, source[position:])
    return blocks


def find_ambiguous_line(source: str) -> int | None:
    """Returns the line, from 1, from which on nothing is touched because tags are in doubt; None where none is."""
    return _parse(source).doubt


def find_raw_ranges(source: str) -> Iterator[tuple[int, int]]:
    """Yields the stretches in which a comment mark is none: scripts, texts of forms, values of attributes."""
    reader = _parse(source)
    position = 0
    for start, end in reader.comments:
        yield position, start
        position = end
    yield position, reader.read_to


def strip_comments(source: str) -> str:
    """Returns a source without its comments; one that never ends stays."""
    # A regular expression would start over at every comment that never ends.
    pieces, position = [], 0
    while (start := source.find("<!--", position)) >= 0 and (end := source.find("-->", start)) >= 0:
        pieces.append(source[position:start])
        position = end + len("-->")
    return "".join([*pieces, source[position:]])


def _parse(source: str) -> _HtmlReader:
    reader = _HtmlReader(source)
    try:
        reader.feed(source)  # and no `close`: what is unfinished stays unread
        is_read = "<" not in source[reader.read_to :]
    except (_AmbiguousMarkup, AssertionError):  # the library asserts where a declaration makes no sense
        is_read = False
    if is_read:
        reader.finish()
    else:
        reader.doubt = reader.getpos()[0]
    return reader


def _fill_gap(blocks: list[Block], text: str) -> Sequence[Block]:
    """A block of what stands between two others; mere space goes to the one before."""
    if blocks and not text.strip():
        last = blocks.pop()
        return [Block(last.kind, last.text + text, last.prose)]
    return [Block(Kind.OTHER, text)] if text else []


def _classify(opened: _OpenBlock, end: int) -> _HtmlBlock:
    prose = join_lines("".join(opened.words))
    if opened.has_image or opened.tag in _IMAGES:
        return _HtmlBlock(opened.start, end, Kind.IMAGE)
    if opened.tag in _HEADINGS:
        return _HtmlBlock(opened.start, end, Kind.HEADING, prose)
    if not has_prose(prose) or GENERATOR_SYNTAX.match(prose):
        return _HtmlBlock(opened.start, end, Kind.OTHER)
    return _HtmlBlock(opened.start, end, Kind.PARAGRAPH, prose)
