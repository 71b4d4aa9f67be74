"""Our images inside a text: marked blocks that can be removed, which restores the author's text byte for byte.

A block goes from `<!-- xcomp:begin ID -->` to `<!-- xcomp:end ID -->`; ID is a digest of the text between the marks.
A mark without the right digest, without its counterpart, or in code was typed by the author and is text like any other.
Where a line break had to be added so that the block stands on lines of its own, the mark on that side has a `+`;
in a page of WordPress both marks have it where they stand in a block of its editor, which was added as well.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from xcomp_composer.article.figure import render_figure
from xcomp_composer.article.model import Article, Illustration
from xcomp_composer.document.blocks import Kind, normalize, split_lines
from xcomp_composer.document.html import find_raw_ranges
from xcomp_composer.document.markdown import parse
from xcomp_composer.document.splitting import split_blocks

_MARK = re.compile(r"<!-- xcomp:(begin|end)(\+?) ([0-9a-f]{12}) -->")
_PUNCTUATION = re.compile(r"([\\`*_\[\]>~&|$])|([{}<])|(%)(?=%)")
_UNSAFE_IN_LINK = re.compile(r"(\{\{.*?\}\}|\{%.*?%\})|[\s<>()\\\"']")
_IMAGE_STYLE = "max-width: 100%; height: auto"  # the author's styles may not limit the width
_WORDPRESS_BEGIN, _WORDPRESS_END = "<!-- wp:html -->", "<!-- /wp:html -->"
_ADDED_BEFORE = re.compile(rf"(\r\n|\r|\n)\1{_WORDPRESS_BEGIN}\1\Z")
_ADDED_AFTER = re.compile(rf"(?:\r\n|\r|\n){_WORDPRESS_END}")
_UNDERLINE = re.compile(r" {0,3}[-=]")
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class _Range:
    """Characters of a text, as offsets."""

    start: int
    end: int


def remove_image_blocks(text: str, format_: str = "markdown") -> tuple[str, int]:
    """Returns the text without our blocks, and their number."""
    cuts = list(_find_image_blocks(text, format_))
    kept, position = [], 0
    for cut in cuts:
        kept.append(text[position : cut.start])
        position = cut.end
    return "".join([*kept, text[position:]]), len(cuts)


def insert_image_blocks(article: Article) -> str:
    """Returns the text with a block after every illustrated segment; a block links to the `file` of its image."""
    newline = detect_line_end(article.text)
    pieces: list[str] = []
    for number, segment in enumerate(article.segments):
        following = article.segments[number + 1].text if number + 1 < len(article.segments) else None
        if segment.illustration:
            is_html = article.format == "html"
            body = (
                _render_html(segment.illustration, newline)
                if is_html
                else _render_markdown(segment.illustration, newline)
            )
            append = _append_after_tag if is_html else _append_on_own_lines
            pieces.append(append(segment.text, body, newline=newline, following=following))
        else:
            pieces.append(segment.text)
    return "".join(pieces)


def detect_line_end(text: str) -> str:
    """Returns the first line end of the text; `\\n` where that is a lone carriage return or there is none."""
    match = _LINE_END.search(text)
    return "\r\n" if match and match.group() == "\r\n" else "\n"


def escape_markdown(text: str) -> str:
    """Returns a text as one line that Markdown shows literally, and in which no template language finds a tag."""
    return _PUNCTUATION.sub(_escape_mark, " ".join(text.split()))


def _escape_mark(match: re.Match[str]) -> str:
    """Marks of templates become references: a backslash would leave `{%` and `<%` whole."""
    return f"\\{match[1]}" if match[1] else f"&#{ord(match[0])};"


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
    before = _ADDED_BEFORE.search(text[max(0, begin.start() - 30) : begin.start()]) if begin.group(2) else None
    after = _ADDED_AFTER.match(text, end.end()) if end.group(2) else None
    if before and after:
        return _Range(begin.start() - len(before.group()), after.end())
    before = re.search(r"(?:\r\n|\r|\n)\Z", text[max(0, begin.start() - 2) : begin.start()])
    after = _LINE_END.match(text, end.end())
    return _Range(
        begin.start() - (len(before.group()) if begin.group(2) and before else 0),
        after.end() if end.group(2) and after else end.end(),
    )


def _find_code(text: str, format_: str) -> list[_Range]:
    """Code blocks at any depth, in HTML also scripts and attributes: a mark there is a quotation by the author."""
    if format_ == "text":
        return []
    if format_ == "html":
        return [_Range(start, end) for start, end in find_raw_ranges(text)]
    offsets = list(accumulate(map(len, split_lines(text)), initial=0))
    tokens = (token for token in parse(text) if token.type in ("fence", "code_block"))
    return [_Range(offsets[token.map[0]], offsets[token.map[1]]) for token in tokens if token.map]


def _append_on_own_lines(segment: str, body: str, *, newline: str, following: str | None) -> str:
    """Puts a block on lines of its own, after the last line of the segment and before the blank lines behind it."""
    words = segment.rstrip("\r\n \t")
    rest = split_lines(segment[len(words) :])
    digest = _digest(body)
    begin, end = f"<!-- xcomp:begin {digest} -->", f"<!-- xcomp:end {digest} -->"
    has_break = bool(rest) and rest[0] != rest[0].rstrip("\r\n")
    if has_break and following and len(rest) > 1 and _UNDERLINE.match(following):
        # Pandoc would read a mark with a rule on the next line as a heading.
        end = f"<!-- xcomp:end+ {digest} -->{newline}"
    if has_break and (following is None or len(rest) > 1):
        return f"{words}{rest[0]}{begin}{body}{end}{''.join(rest[1:])}"
    if _can_take_comment(words):
        return f"{words}{begin}{body}{end}{''.join(rest)}"
    if has_break:
        return f"{segment}{begin}{body}<!-- xcomp:end+ {digest} -->{newline}"
    return f"{segment}{newline}<!-- xcomp:begin+ {digest} -->{body}{end}"


def _append_after_tag(segment: str, body: str, *, newline: str, following: str | None) -> str:  # noqa: ARG001  # as `_append_on_own_lines`
    """Puts a block right after the last tag of the segment: white space between blocks of a page has no meaning."""
    words = segment.rstrip()
    digest = _digest(body)
    rest = segment[len(words) :]
    if words.endswith("-->") and "wp:paragraph" in words[-40:]:
        opening = f"{newline}{newline}{_WORDPRESS_BEGIN}{newline}<!-- xcomp:begin+ {digest} -->"
        return f"{words}{opening}{body}<!-- xcomp:end+ {digest} -->{newline}{_WORDPRESS_END}{rest}"
    return f"{words}<!-- xcomp:begin {digest} -->{body}<!-- xcomp:end {digest} -->{rest}"


def _can_take_comment(words: str) -> bool:
    """Whether a mark may follow on the same line: after a paragraph that does not end in a backslash."""
    return bool(words) and split_blocks(words)[-1].kind is Kind.PARAGRAPH and not words.endswith("\\")


def _render_markdown(illustration: Illustration, newline: str) -> str:
    lines = ["", "", f"![{escape_markdown(illustration.alt)}]({_encode_target(illustration.file)})", ""]
    printed = [part for part in (escape_markdown(illustration.caption), escape_markdown(illustration.credit)) if part]
    if printed:
        lines += [f"_{' · '.join(printed)}_", ""]
    return newline.join([*lines, ""])


def _render_html(illustration: Illustration, newline: str) -> str:
    return f"{newline}{render_figure(illustration, style=_IMAGE_STYLE).rstrip()}{newline}"


def _encode_target(file: str) -> str:
    """Escapes what would end a link, but not in expressions that a site generator replaces before Markdown is read."""
    return _UNSAFE_IN_LINK.sub(lambda match: match[1] or "".join(f"%{byte:02X}" for byte in match[0].encode()), file)


def _digest(body: str) -> str:
    """The digest ignores the kind of line ends, so that a block survives a conversion of them."""
    return hashlib.blake2b(normalize(body).encode(errors="surrogatepass"), digest_size=6, person=b"xcomp").hexdigest()
