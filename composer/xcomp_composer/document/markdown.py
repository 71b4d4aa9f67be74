"""A text as blocks: which lines belong together, of what kind they are, and what their words are.

Markdown and plain text are read here, HTML in `html_blocks`.

The one idea: only line numbers come from the parser. The text itself is cut, never rebuilt, so the blocks joined are
the input byte for byte. Raw HTML is a block of its own here and never a paragraph.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from itertools import pairwise

from markdown_it.token import Token

from xcomp_composer.document.blocks import CJK, MACHINERY, Block, Kind, is_prose, one_line
from xcomp_composer.document.commonmark import PARSER
from xcomp_composer.document.html import split_html
from xcomp_composer.document.nesting import enclosed

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as CommonMark counts lines; str.splitlines knows many more
_FRONT_MATTER = re.compile(
    r"""\ufeff?(?: ---[ \t]*\n (?=[\w"'][\w\ ."'-]*:) (?:.*\n)*? (?:---|\.\.\.)  # YAML
        | \+\+\+[ \t]*\n (?:.*\n)*? \+\+\+                                    # TOML
        | \{[ \t]*\n (?=\s*"[^"\n]*"[ \t]*:) (?:.*\n)*? \} )                   # JSON
        [ \t]* (?:\n|$)""",
    re.VERBOSE,
)
_TITLE_ENTRY = re.compile(r'^(?:title|[ \t]+"title")[ \t]*[:=][ \t]*(.+?)[ \t]*$', re.MULTILINE | re.IGNORECASE)
_PAGE_TITLE = re.compile(r"<title\b[^<>]*>([^<]*)</title", re.IGNORECASE)
_DEFINITION = re.compile(r"^ {0,3}:[ \t]+\S", re.MULTILINE)  # under its term, in a list of Hugo, kramdown or Pandoc
_FIGURE = re.compile(r"\s*\{\{[<%]\s*(?:figure|image|img)\b")  # shortcodes of Hugo and of its themes
_HTML_PICTURE = re.compile(r"<(?:img|picture|figure)\b", re.IGNORECASE)
_LISTED = re.compile(r"\s*(?:[-*+•‣◦▪]\s|[|+][-=|\s])")  # items of a list and rows of a table in plain text
_CAPTION_START = re.compile(
    r"\s*(?:(?:figure|fig|photo|picture|image)\b[\s\d.:]|[图圖][\s\d一二三四五六七八九十：:]|(?:照片|图片)[：:])",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?。！？…:：;；][\"'”’」』)）]*\s*$")
_LONGEST_HEADING = 80  # characters of a line of plain text that may be one
_LONGEST_CAPTION = 200
_TITLE_WORDS = 8
_TITLE_IDEOGRAPHS = 20


@dataclass(frozen=True)
class _Span:
    start: int  # first line
    kind: Kind
    prose: str = ""


def split(text: str, format_: str = "markdown") -> list[Block]:
    """Cuts a text into blocks; joined they are the text."""
    if format_ == "html":
        return split_html(text)
    lines = lines_of(text)
    spans = _plain_spans(lines) if format_ == "text" else _markdown_spans(text, lines)
    if not lines:
        return []
    starts = [0, *(span.start for span in spans[1:]), len(lines)]
    cuts = pairwise(starts)
    return [Block(span.kind, "".join(lines[a:b]), span.prose) for span, (a, b) in zip(spans, cuts, strict=True)]


def lines_of(text: str) -> list[str]:
    """Returns the lines with their ends, counted as the Markdown parser counts them."""
    return _LINE.findall(text)


def normalised(text: str) -> str:
    """Returns the text with `\\n` for every kind of line end, without a byte order mark: what the parser is given."""
    return re.sub(r"\r\n?", "\n", text).removeprefix("\ufeff")


def front_matter_lines(text: str) -> int:
    """Counts the lines of the front matter; 0 where there is none."""
    match = _FRONT_MATTER.match(re.sub(r"\r\n?", "\n", text))
    return len(lines_of(match.group())) if match else 0


def parse(text: str) -> list[Token]:
    """Returns the tokens of a Markdown text; the front matter stands as blank lines, so that line numbers hold."""
    skipped = front_matter_lines(text)
    body = "".join(lines_of(normalised(text))[skipped:])
    return PARSER.parse("\n" * skipped + body)


def title_of(blocks: Sequence[Block], format_: str = "markdown") -> str:
    """Returns the title in the front matter, else the first heading, else a page's own title, else the first words."""
    for block in blocks:
        entry = _TITLE_ENTRY.search(normalised(block.text)) if block.kind is Kind.FRONT_MATTER else None
        if entry and (title := entry.group(1).strip("\"', ")):
            return title
    for block in blocks:
        if block.kind is Kind.HEADING and block.prose:
            return block.prose
    page_title = _PAGE_TITLE.search("".join(block.text for block in blocks)) if format_ == "html" else None
    if page_title and (title := one_line(unescape(page_title[1]))):
        return title
    return _first_words(next((block.prose for block in blocks if block.prose), ""))


def _first_words(prose: str) -> str:
    words = prose.split()
    cut = " ".join(words[:_TITLE_WORDS])
    if len(words) > _TITLE_WORDS:
        return cut.rstrip(",;:") + " …"
    if re.search(CJK, cut) and len(cut) > _TITLE_IDEOGRAPHS:
        return re.split(r"[，。；：！？]", cut)[0][:_TITLE_IDEOGRAPHS] + "…"
    return cut


def _markdown_spans(text: str, lines: Sequence[str]) -> list[_Span]:
    spans = _with_front_matter(text)
    tokens = parse(text)
    covered = front_matter_lines(text)
    for i, token in enumerate(tokens):
        if token.level or not token.map:
            continue
        start, end = token.map
        spans += _uncovered(lines, covered, start)
        spans.append(_span(token, tokens[i + 1] if i + 1 < len(tokens) else token))
        covered = end
    spans += _uncovered(lines, covered, len(lines))
    return _without_captions(_without_insides(spans, lines)) or [_Span(0, Kind.OTHER)]


def _with_front_matter(text: str) -> list[_Span]:
    return [_Span(0, Kind.FRONT_MATTER)] if front_matter_lines(text) else []


def _uncovered(lines: Sequence[str], start: int, end: int) -> Iterator[_Span]:
    """Lines that no token names, such as link definitions, make a block unless they are blank."""
    for number in range(start, end):
        if lines[number].strip("\ufeff \t\r\n"):
            yield _Span(number, Kind.OTHER)
            return


def _span(token: Token, inline: Token) -> _Span:
    assert token.map
    start = token.map[0]
    if token.type == "heading_open":
        return _Span(start, Kind.HEADING, prose_of(inline))
    if token.type == "html_block" and _HTML_PICTURE.search(token.content):
        return _Span(start, Kind.IMAGE)
    if token.type != "paragraph_open":
        return _Span(start, Kind.OTHER)
    if _FIGURE.match(inline.content) or any(child.type == "image" for child in inline.children or ()):
        return _Span(start, Kind.IMAGE)
    prose = prose_of(inline)
    is_paragraph = is_prose(prose) and not _is_aside(inline)
    return _Span(start, Kind.PARAGRAPH if is_paragraph else Kind.OTHER, prose if is_paragraph else "")


def _is_aside(inline: Token) -> bool:
    """Directives and definitions of a site generator, and captions or notes that are emphasised as a whole."""
    children = inline.children or []
    depth, outside = 0, 0
    for child in children:
        depth += child.nesting if child.type.startswith("em_") else 0
        outside += child.type == "text" and not depth and bool(child.content.strip())
    return bool(MACHINERY.match(inline.content) or _DEFINITION.search(inline.content)) or not outside


def prose_of(inline: Token) -> str:
    """Returns the words of a paragraph or heading as a reader sees them, in one line."""
    pieces: list[str] = []
    for child in inline.children or ():
        if child.type in ("text", "code_inline"):
            pieces.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            pieces.append("\n")
    return one_line("".join(pieces))


def _without_insides(spans: Sequence[_Span], lines: Sequence[str]) -> list[_Span]:
    texts = ["".join(lines[a.start : b.start]) for a, b in pairwise([*spans, _Span(len(lines), Kind.OTHER)])]
    inside = enclosed(texts, may_open=[span.kind in (Kind.OTHER, Kind.IMAGE) for span in spans])
    return [_Span(span.start, Kind.OTHER) if number in inside else span for number, span in enumerate(spans)]


def _without_captions(spans: Sequence[_Span]) -> list[_Span]:
    """A short paragraph under an image that names itself a caption is one."""
    kept: list[_Span] = []
    for span in spans:
        under_image = bool(kept) and kept[-1].kind is Kind.IMAGE
        is_caption = under_image and len(span.prose) <= _LONGEST_CAPTION and _CAPTION_START.match(span.prose)
        kept.append(_Span(span.start, Kind.OTHER) if is_caption else span)
    return kept


def _plain_spans(lines: Sequence[str]) -> list[_Span]:
    """Paragraphs stand between blank lines; in a text without any, every line is one."""
    by_line = all(line.strip() for line in lines)
    starts = [
        number
        for number, line in enumerate(lines)
        if line.strip() and (by_line or not number or not lines[number - 1].strip())
    ]
    cuts = pairwise([*starts, len(lines)])
    return [_plain_span(lines[a:b], a, is_last=b == len(lines)) for a, b in cuts] or [_Span(0, Kind.OTHER)]


def _plain_span(paragraph: Sequence[str], start: int, *, is_last: bool) -> _Span:
    """A short line without a full stop is a heading where something follows."""
    words = normalised("".join(paragraph)).strip()
    prose = one_line(words)
    if not is_prose(prose) or _LISTED.match(words):
        return _Span(start, Kind.OTHER)
    is_short = "\n" not in words and len(prose) <= _LONGEST_HEADING
    is_heading = is_short and not is_last and not _SENTENCE_END.search(prose)
    return _Span(start, Kind.HEADING if is_heading else Kind.PARAGRAPH, prose)
