"""Markdown as blocks: which lines belong together, what they are, and their prose.

Only line numbers come from the parser. The text itself is cut, never rebuilt, so the blocks joined are the text, byte
for byte. Raw HTML is never a paragraph here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markdown_it.token import Token

from xcomp_composer.document.blocks import (
    GENERATOR_SYNTAX,
    Block,
    Kind,
    has_prose,
    join_lines,
    normalize,
    split_lines,
)
from xcomp_composer.document.commonmark import PARSER
from xcomp_composer.document.front_matter import count_front_matter_lines
from xcomp_composer.document.nesting import find_enclosed
from xcomp_composer.document.pandoc import find_tables, is_list_or_table

# A line within a paragraph that begins a definition, a tab, a note, a snippet or an abbreviation.
_CONSTRUCT = re.compile(
    r"""^[ ]{0,3}(?: [:~][ \t]+\S | ===[!+]*[ ]+["'] | (?:!!!|\?\?\?\+?)[ ]+\w | ///[ ]*\S | -+8<-+
      | \*\[[^\]\n]+\]: | :::[ ]*\S | \+(?:[-=:]+\+)+[ \t]*$ )""",
    re.MULTILINE | re.VERBOSE,
)
_ATTRIBUTES = re.compile(r"\s*\{:[^{}\n]*\}\s*\Z")  # of a paragraph, in kramdown
_FIGURE = re.compile(r"\s*\{\{[<%]\s*(?:figure|image|img)\b")  # shortcodes of Hugo and of its themes
_HTML_IMAGE = re.compile(r"<(?:img|picture|figure)\b", re.IGNORECASE)
_CAPTION_START = re.compile(
    r"\s*(?:(?:figure|fig|photo|picture|image)\b[\s\d.:]|[图圖][\s\d一二三四五六七八九十：:]|(?:照片|图片)[：:])",
    re.IGNORECASE,
)
_MAX_CAPTION_CHARACTERS = 200


@dataclass(frozen=True)
class _LineSpan:
    start: int  # first line
    kind: Kind
    prose: str = ""


def split_markdown(text: str) -> list[Block]:
    """Cuts a Markdown text into blocks."""
    lines = split_lines(text)
    if not lines:
        return []
    spans = _find_spans(text, lines)
    cuts = pairwise([0, *(span.start for span in spans[1:]), len(lines)])
    return [Block(span.kind, "".join(lines[a:b]), span.prose) for span, (a, b) in zip(spans, cuts, strict=True)]


def parse(text: str) -> list[Token]:
    """Returns the tokens of a Markdown text; blank lines replace the front matter, so that line numbers stay right."""
    skipped = count_front_matter_lines(text)
    body = "".join(split_lines(normalize(text))[skipped:])
    return PARSER.parse("\n" * skipped + body)


def _find_spans(text: str, lines: Sequence[str]) -> list[_LineSpan]:
    covered = count_front_matter_lines(text)
    spans = [_LineSpan(0, Kind.FRONT_MATTER)] if covered else []
    tokens = parse(text)
    for i, token in enumerate(tokens):
        if token.level or not token.map:
            continue
        start, end = token.map
        spans += _span_uncovered_lines(lines, covered, start)
        spans.append(_classify(token, tokens[i + 1] if i + 1 < len(tokens) else token))
        covered = end
    spans += _span_uncovered_lines(lines, covered, len(lines))
    spans = _demote_tables(_demote_enclosed(spans, lines), lines)
    return _demote_captions(_demote_continuations(spans, lines)) or [_LineSpan(0, Kind.OTHER)]


def _span_uncovered_lines(lines: Sequence[str], start: int, end: int) -> Iterator[_LineSpan]:
    """Yields a block for lines of no token, such as link definitions, unless they are blank."""
    for number in range(start, end):
        if lines[number].strip("\ufeff \t\r\n"):
            yield _LineSpan(number, Kind.OTHER)
            return


def _classify(token: Token, inline: Token) -> _LineSpan:
    assert token.map
    start = token.map[0]
    if token.type == "heading_open":
        return _LineSpan(start, Kind.HEADING, _extract_prose(inline))
    if token.type == "html_block" and _HTML_IMAGE.search(token.content):
        return _LineSpan(start, Kind.IMAGE)
    if token.type != "paragraph_open":
        return _LineSpan(start, Kind.OTHER)
    if _FIGURE.match(inline.content) or any(child.type == "image" for child in inline.children or ()):
        return _LineSpan(start, Kind.IMAGE)
    prose = _extract_prose(inline)
    is_paragraph = has_prose(prose) and not _is_aside(inline)
    return _LineSpan(start, Kind.PARAGRAPH if is_paragraph else Kind.OTHER, prose if is_paragraph else "")


def _is_aside(inline: Token) -> bool:
    """Whether a paragraph is a directive or definition of a site generator, or emphasised as a whole like a caption."""
    children = inline.children or []
    depth, outside = 0, 0
    for child in children:
        depth += child.nesting if child.type.startswith("em_") else 0
        outside += child.type == "text" and not depth and bool(child.content.strip())
    text = inline.content
    is_machinery = GENERATOR_SYNTAX.match(text) or _CONSTRUCT.search(text) or is_list_or_table(text)
    return bool(is_machinery) or not outside


def _extract_prose(inline: Token) -> str:
    """Returns the words of a paragraph or heading as a reader sees them, in one line."""
    pieces: list[str] = []
    for child in inline.children or ():
        if child.type in ("text", "code_inline"):
            pieces.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            pieces.append("\n")
    return join_lines(_ATTRIBUTES.sub("", "".join(pieces)))


def _demote_enclosed(spans: Sequence[_LineSpan], lines: Sequence[str]) -> list[_LineSpan]:
    texts = ["".join(lines[a.start : b.start]) for a, b in pairwise([*spans, _LineSpan(len(lines), Kind.OTHER)])]
    inside = find_enclosed(texts, may_open=[span.kind in (Kind.OTHER, Kind.IMAGE) for span in spans])
    return [_LineSpan(span.start, Kind.OTHER) if number in inside else span for number, span in enumerate(spans)]


def _demote_tables(spans: Sequence[_LineSpan], lines: Sequence[str]) -> list[_LineSpan]:
    covered = {number for first, last in find_tables(lines) for number in range(first, last)}
    words = (Kind.PARAGRAPH, Kind.HEADING)
    return [
        _LineSpan(span.start, Kind.OTHER) if span.start in covered and span.kind in words else span for span in spans
    ]


def _demote_continuations(spans: Sequence[_LineSpan], lines: Sequence[str]) -> list[_LineSpan]:
    """Makes an indented paragraph after a list, a note or a definition a part of it."""
    kept: list[_LineSpan] = []
    for span in spans:
        after_other = bool(kept) and kept[-1].kind is Kind.OTHER
        is_continuation = after_other and span.kind is Kind.PARAGRAPH and lines[span.start].startswith(" ")
        kept.append(_LineSpan(span.start, Kind.OTHER) if is_continuation else span)
    return kept


def _demote_captions(spans: Sequence[_LineSpan]) -> list[_LineSpan]:
    """Makes a short paragraph under an image a caption if it begins like one."""
    kept: list[_LineSpan] = []
    for span in spans:
        under_image = bool(kept) and kept[-1].kind is Kind.IMAGE
        is_caption = under_image and len(span.prose) <= _MAX_CAPTION_CHARACTERS and _CAPTION_START.match(span.prose)
        kept.append(_LineSpan(span.start, Kind.OTHER) if is_caption else span)
    return kept
