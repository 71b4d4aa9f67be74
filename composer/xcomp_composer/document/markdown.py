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

from xcomp_composer.document.blocks import CJK, GENERATOR_SYNTAX, Block, Kind, has_prose, join_lines
from xcomp_composer.document.commonmark import PARSER
from xcomp_composer.document.html import split_html
from xcomp_composer.document.nesting import find_enclosed

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
_HTML_IMAGE = re.compile(r"<(?:img|picture|figure)\b", re.IGNORECASE)
_LIST_ITEM_OR_ROW = re.compile(r"\s*(?:[-*+•‣◦▪]\s|[|+][-=|\s])")  # items of a list and rows of a table in plain text
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
class _LineSpan:
    start: int  # first line
    kind: Kind
    prose: str = ""


def split_blocks(text: str, format_: str = "markdown") -> list[Block]:
    """Cuts a text into blocks; joined they are the text."""
    if format_ == "html":
        return split_html(text)
    lines = split_lines(text)
    spans = _find_text_spans(lines) if format_ == "text" else _find_markdown_spans(text, lines)
    if not lines:
        return []
    starts = [0, *(span.start for span in spans[1:]), len(lines)]
    cuts = pairwise(starts)
    return [Block(span.kind, "".join(lines[a:b]), span.prose) for span, (a, b) in zip(spans, cuts, strict=True)]


def split_lines(text: str) -> list[str]:
    """Returns the lines with their ends, counted as the Markdown parser counts them."""
    return _LINE.findall(text)


def normalize(text: str) -> str:
    """Returns the text with `\\n` for every kind of line end, without a byte order mark: what the parser is given."""
    return re.sub(r"\r\n?", "\n", text).removeprefix("\ufeff")


def count_front_matter_lines(text: str) -> int:
    """Counts the lines of the front matter; 0 where there is none."""
    match = _FRONT_MATTER.match(re.sub(r"\r\n?", "\n", text))
    return len(split_lines(match.group())) if match else 0


def parse(text: str) -> list[Token]:
    """Returns the tokens of a Markdown text; the front matter stands as blank lines, so that line numbers hold."""
    skipped = count_front_matter_lines(text)
    body = "".join(split_lines(normalize(text))[skipped:])
    return PARSER.parse("\n" * skipped + body)


def find_title(blocks: Sequence[Block], format_: str = "markdown") -> str:
    """Returns the title in the front matter, else the first heading, else a page's own title, else the first words."""
    for block in blocks:
        entry = _TITLE_ENTRY.search(normalize(block.text)) if block.kind is Kind.FRONT_MATTER else None
        if entry and (title := entry.group(1).strip("\"', ")):
            return title
    for block in blocks:
        if block.kind is Kind.HEADING and block.prose:
            return block.prose
    page_title = _PAGE_TITLE.search("".join(block.text for block in blocks)) if format_ == "html" else None
    if page_title and (title := join_lines(unescape(page_title[1]))):
        return title
    return _shorten(next((block.prose for block in blocks if block.prose), ""))


def _shorten(prose: str) -> str:
    words = prose.split()
    cut = " ".join(words[:_TITLE_WORDS])
    if len(words) > _TITLE_WORDS:
        return cut.rstrip(",;:") + " …"
    if re.search(CJK, cut) and len(cut) > _TITLE_IDEOGRAPHS:
        return re.split(r"[，。；：！？]", cut)[0][:_TITLE_IDEOGRAPHS] + "…"
    return cut


def _find_markdown_spans(text: str, lines: Sequence[str]) -> list[_LineSpan]:
    spans = _with_front_matter(text)
    tokens = parse(text)
    covered = count_front_matter_lines(text)
    for i, token in enumerate(tokens):
        if token.level or not token.map:
            continue
        start, end = token.map
        spans += _span_uncovered_lines(lines, covered, start)
        spans.append(_classify_token(token, tokens[i + 1] if i + 1 < len(tokens) else token))
        covered = end
    spans += _span_uncovered_lines(lines, covered, len(lines))
    return _demote_captions(_demote_enclosed(spans, lines)) or [_LineSpan(0, Kind.OTHER)]


def _with_front_matter(text: str) -> list[_LineSpan]:
    return [_LineSpan(0, Kind.FRONT_MATTER)] if count_front_matter_lines(text) else []


def _span_uncovered_lines(lines: Sequence[str], start: int, end: int) -> Iterator[_LineSpan]:
    """Lines that no token names, such as link definitions, make a block unless they are blank."""
    for number in range(start, end):
        if lines[number].strip("\ufeff \t\r\n"):
            yield _LineSpan(number, Kind.OTHER)
            return


def _classify_token(token: Token, inline: Token) -> _LineSpan:
    assert token.map
    start = token.map[0]
    if token.type == "heading_open":
        return _LineSpan(start, Kind.HEADING, extract_prose(inline))
    if token.type == "html_block" and _HTML_IMAGE.search(token.content):
        return _LineSpan(start, Kind.IMAGE)
    if token.type != "paragraph_open":
        return _LineSpan(start, Kind.OTHER)
    if _FIGURE.match(inline.content) or any(child.type == "image" for child in inline.children or ()):
        return _LineSpan(start, Kind.IMAGE)
    prose = extract_prose(inline)
    is_paragraph = has_prose(prose) and not _is_aside(inline)
    return _LineSpan(start, Kind.PARAGRAPH if is_paragraph else Kind.OTHER, prose if is_paragraph else "")


def _is_aside(inline: Token) -> bool:
    """Directives and definitions of a site generator, and captions or notes that are emphasised as a whole."""
    children = inline.children or []
    depth, outside = 0, 0
    for child in children:
        depth += child.nesting if child.type.startswith("em_") else 0
        outside += child.type == "text" and not depth and bool(child.content.strip())
    return bool(GENERATOR_SYNTAX.match(inline.content) or _DEFINITION.search(inline.content)) or not outside


def extract_prose(inline: Token) -> str:
    """Returns the words of a paragraph or heading as a reader sees them, in one line."""
    pieces: list[str] = []
    for child in inline.children or ():
        if child.type in ("text", "code_inline"):
            pieces.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            pieces.append("\n")
    return join_lines("".join(pieces))


def _demote_enclosed(spans: Sequence[_LineSpan], lines: Sequence[str]) -> list[_LineSpan]:
    texts = ["".join(lines[a.start : b.start]) for a, b in pairwise([*spans, _LineSpan(len(lines), Kind.OTHER)])]
    inside = find_enclosed(texts, may_open=[span.kind in (Kind.OTHER, Kind.IMAGE) for span in spans])
    return [_LineSpan(span.start, Kind.OTHER) if number in inside else span for number, span in enumerate(spans)]


def _demote_captions(spans: Sequence[_LineSpan]) -> list[_LineSpan]:
    """A short paragraph under an image that names itself a caption is one."""
    kept: list[_LineSpan] = []
    for span in spans:
        under_image = bool(kept) and kept[-1].kind is Kind.IMAGE
        is_caption = under_image and len(span.prose) <= _LONGEST_CAPTION and _CAPTION_START.match(span.prose)
        kept.append(_LineSpan(span.start, Kind.OTHER) if is_caption else span)
    return kept


def _find_text_spans(lines: Sequence[str]) -> list[_LineSpan]:
    """Paragraphs stand between blank lines; in a text without any, every line is one."""
    by_line = all(line.strip() for line in lines)
    starts = [
        number
        for number, line in enumerate(lines)
        if line.strip() and (by_line or not number or not lines[number - 1].strip())
    ]
    cuts = pairwise([*starts, len(lines)])
    return [_classify_text(lines[a:b], a, is_last=b == len(lines)) for a, b in cuts] or [_LineSpan(0, Kind.OTHER)]


def _classify_text(paragraph: Sequence[str], start: int, *, is_last: bool) -> _LineSpan:
    """A short line without a full stop is a heading where something follows."""
    words = normalize("".join(paragraph)).strip()
    prose = join_lines(words)
    if not has_prose(prose) or _LIST_ITEM_OR_ROW.match(words):
        return _LineSpan(start, Kind.OTHER)
    is_short = "\n" not in words and len(prose) <= _LONGEST_HEADING
    is_heading = is_short and not is_last and not _SENTENCE_END.search(prose)
    return _LineSpan(start, Kind.HEADING if is_heading else Kind.PARAGRAPH, prose)
