"""Our pictures inside a text: marked blocks that can be told from the author's words and taken out again.

The one idea: a block is whatever stands from `<!-- xcomp:begin ID -->` to `<!-- xcomp:end ID -->`, and ID is a digest
of what stands between. Cutting all blocks out gives the author's bytes back. Marks that the author typed, unbalanced or
quoted in code, carry no right digest or stand in code, and are words like any other. Where a line break had to be added
for the block to stand on lines of its own, the mark at that side says so with a `+`.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from xcomp_composer.article.figure import (
    render_figure,
)
from xcomp_composer.article.model import Article, Illustration
from xcomp_composer.document.blocks import Kind
from xcomp_composer.document.html import find_raw_ranges
from xcomp_composer.document.markdown import normalize, parse, split_blocks, split_lines

_MARK = re.compile(r"<!-- xcomp:(begin|end)(\+?) ([0-9a-f]{12}) -->")
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>~&|$])")
_UNSAFE_IN_LINK = re.compile(r"(\{\{.*?\}\}|\{%.*?%\})|[\s<>()\\\"']")
_IMAGE_STYLE = "max-width: 100%; height: auto"  # the author's own styles may set no bound
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class _Range:
    start: int
    end: int


def remove_image_blocks(text: str, format_: str = "markdown") -> tuple[str, int]:
    """Returns the text without our blocks, and how many there were."""
    cuts = list(_find_image_blocks(text, format_))
    kept, position = [], 0
    for cut in cuts:
        kept.append(text[position : cut.start])
        position = cut.end
    return "".join([*kept, text[position:]]), len(cuts)


def insert_image_blocks(article: Article) -> str:
    """Returns the text with a block after every illustrated segment, linking to each picture's `file`."""
    newline = detect_line_end(article.text)
    pieces: list[str] = []
    for number, segment in enumerate(article.segments):
        is_last = number + 1 == len(article.segments)
        if segment.illustration:
            is_html = article.format == "html"
            body = (
                _render_html(segment.illustration, newline)
                if is_html
                else _render_markdown(segment.illustration, newline)
            )
            place = _append_after_tag if is_html else _append_on_own_lines
            pieces.append(place(segment.text, body, newline=newline, is_last=is_last))
        else:
            pieces.append(segment.text)
    return "".join(pieces)


def detect_line_end(text: str) -> str:
    """Returns the line end that the text uses first; the lone carriage return of old is not spread."""
    match = _LINE_END.search(text)
    return "\r\n" if match and match.group() == "\r\n" else "\n"


def escape_markdown(words: str) -> str:
    """Returns words in one line, such that Markdown shows them as they are."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(words.split()))


def _find_image_blocks(text: str, format_: str) -> Iterator[_Range]:
    begin: re.Match[str] | None = None
    code: list[_Range] | None = None
    for mark in _MARK.finditer(text):
        if mark.group(1) == "begin":
            begin = mark
            continue
        if begin and begin.group(3) == mark.group(3) == _digest(text[begin.end() : mark.start()]):
            code = _find_code(text, format_) if code is None else code
            if not any(cut.start <= begin.start() < cut.end for cut in code):
                yield _include_added_breaks(text, begin, mark)
        begin = None


def _include_added_breaks(text: str, begin: re.Match[str], end: re.Match[str]) -> _Range:
    before = re.search(r"(?:\r\n|\r|\n)\Z", text[max(0, begin.start() - 2) : begin.start()])
    after = _LINE_END.match(text, end.end())
    return _Range(
        begin.start() - (len(before.group()) if begin.group(2) and before else 0),
        after.end() if end.group(2) and after else end.end(),
    )


def _find_code(text: str, format_: str) -> list[_Range]:
    """Code blocks at any depth, in HTML scripts and the like; a quotation of our output in one is the author's."""
    if format_ == "text":
        return []
    if format_ == "html":
        return [_Range(start, end) for start, end in find_raw_ranges(text)]
    offsets = list(accumulate(map(len, split_lines(text)), initial=0))
    tokens = (token for token in parse(text) if token.type in ("fence", "code_block"))
    return [_Range(offsets[token.map[0]], offsets[token.map[1]]) for token in tokens if token.map]


def _append_on_own_lines(segment: str, body: str, *, newline: str, is_last: bool) -> str:
    """Puts a block on lines of its own after the segment's last line, and before the blank lines that follow it."""
    words = segment.rstrip("\r\n \t")
    rest = split_lines(segment[len(words) :])
    digest = _digest(body)
    begin, end = f"<!-- xcomp:begin {digest} -->", f"<!-- xcomp:end {digest} -->"
    has_break = bool(rest) and rest[0] != rest[0].rstrip("\r\n")
    if has_break and (is_last or len(rest) > 1):
        return f"{words}{rest[0]}{begin}{body}{end}{''.join(rest[1:])}"
    if _can_take_comment(words):
        return f"{words}{begin}{body}{end}{''.join(rest)}"
    if has_break:
        return f"{segment}{begin}{body}<!-- xcomp:end+ {digest} -->{newline}"
    return f"{segment}{newline}<!-- xcomp:begin+ {digest} -->{body}{end}"


def _append_after_tag(segment: str, body: str, *, newline: str, is_last: bool) -> str:  # noqa: ARG001  # as `_append_on_own_lines`
    """Puts a block right after the segment's last tag: between the blocks of a page, space means nothing."""
    words = segment.rstrip()
    digest = _digest(body)
    return f"{words}<!-- xcomp:begin {digest} -->{body}<!-- xcomp:end {digest} -->{segment[len(words) :]}"


def _can_take_comment(words: str) -> bool:
    """Whether a mark may follow on the same line: after a paragraph, unless it would escape the mark."""
    return bool(words) and split_blocks(words)[-1].kind is Kind.PARAGRAPH and not words.endswith("\\")


def _render_markdown(picture: Illustration, newline: str) -> str:
    lines = ["", "", f"![{escape_markdown(picture.alt)}]({_encode_target(picture.file)})", ""]
    printed = [part for part in (escape_markdown(picture.caption), escape_markdown(picture.credit)) if part]
    if printed:
        lines += [f"_{' · '.join(printed)}_", ""]
    return newline.join([*lines, ""])


def _render_html(picture: Illustration, newline: str) -> str:
    return f"{newline}{render_figure(picture, style=_IMAGE_STYLE).rstrip()}{newline}"


def _encode_target(file: str) -> str:
    """Escapes what would end a link; an expression of a site generator becomes a link before Markdown reads it."""
    return _UNSAFE_IN_LINK.sub(lambda match: match[1] or "".join(f"%{byte:02X}" for byte in match[0].encode()), file)


def _digest(body: str) -> str:
    """Line ends do not count, so that a block survives a change of them."""
    return hashlib.blake2b(normalize(body).encode(errors="surrogatepass"), digest_size=6, person=b"xcomp").hexdigest()
