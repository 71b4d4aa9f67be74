"""Changes of the text of an article; each can be undone.

Pure functions from article to article: a text that a model writes is an argument.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from xcomp_composer.article.history import replace_segments
from xcomp_composer.article.markers import detect_line_end, insert_image_blocks, remove_image_blocks
from xcomp_composer.article.model import Article, Segment
from xcomp_composer.document.blocks import Kind
from xcomp_composer.document.front_matter import count_front_matter_lines
from xcomp_composer.document.html import TAG
from xcomp_composer.document.splitting import split_blocks
from xcomp_protos.errors import InvalidRequest

_ELEMENT = re.compile(rf"(?=<([a-zA-Z0-9]+))(?:{TAG.pattern})", re.VERBOSE)


def rewrite(article: Article, segment: int, text: str) -> Article:
    """Replaces the text of a segment; its image stays."""
    old = get_segment(article, segment)
    ending = old.text[len(old.text.rstrip("\r\n \t")) :]
    pieces = _split_segments(_prepare_text(text, article, old) + ending, article)
    pieces[-1] = replace(pieces[-1], illustration=old.illustration)
    return _replace_text(article, segment, pieces, operation=f"rewrite segment {segment}")


def insert_before(article: Article, segment: int, text: str) -> Article:
    """Inserts a text before a segment."""
    old = get_segment(article, segment)
    if article.format == "markdown" and count_front_matter_lines(old.text) and not segment:
        raise InvalidRequest(f"segment: {segment} is the front matter, which must come first: insert after it")
    pieces = _split_segments(
        _prepare_text(text, article, old, beside=True) + 2 * detect_line_end(article.text), article
    )
    before = "".join(each.text for each in article.segments[:segment])
    pieces[0] = replace(pieces[0], text=_missing_line_ends(before, article) + pieces[0].text)
    return _replace_text(article, segment, [*pieces, old], operation=f"insert before segment {segment}")


def insert_after(article: Article, segment: int, text: str) -> Article:
    """Inserts a text after a segment and its image."""
    old = get_segment(article, segment)
    is_last = segment + 1 == len(article.segments)
    words = _prepare_text(text, article, old, beside=True)
    pieces = _split_segments(words + detect_line_end(article.text) * (1 if is_last else 2), article)
    before = "".join(each.text for each in article.segments[: segment + 1])
    pieces[0] = replace(pieces[0], text=_missing_line_ends(before, article) + pieces[0].text)
    return _replace_text(article, segment, [old, *pieces], operation=f"insert after segment {segment}")


def _replace_text(article: Article, at: int, pieces: Sequence[Segment], *, operation: str) -> Article:
    after = replace_segments(article, at, pieces, operation=operation)
    if remove_image_blocks(insert_image_blocks(after), after.format)[0] != after.text:
        raise InvalidRequest("text: opens code that it never closes, so images would stand in code: close it")
    return after


def get_segment(article: Article, number: int) -> Segment:
    """Returns a segment; raises InvalidRequest where the article has no segment of that number."""
    if number >= len(article.segments):
        raise InvalidRequest(
            f"segment: the article has {len(article.segments)} segments, numbered from 0: there is no {number}"
        )
    return article.segments[number]


def check_is_element(article: Article, number: int) -> None:
    """Raises InvalidRequest where a segment of an HTML page is not an element that new ones may stand beside."""
    is_html = article.format == "html"
    if is_html and all(block.kind is Kind.OTHER for block in split_blocks(article.segments[number].text, "html")):
        raise InvalidRequest(f"segment: {number} is not a paragraph of the page: choose one that is")


def _prepare_text(text: str, article: Article, old: Segment, *, beside: bool = False) -> str:
    words = re.sub(r"\r\n?", "\n", text.strip("\r\n \t"))
    if not words:
        raise InvalidRequest("text: is empty: give the new words")
    if article.format == "html":
        number = article.segments.index(old)
        check_is_element(article, number)
        if not beside and {block.kind for block in split_blocks(old.text, "html")} <= {Kind.IMAGE, Kind.OTHER}:
            raise InvalidRequest(f"segment: {number} is an image of the page: it has no text to replace")
        words = _wrap_in_tags(words, "" if beside else old.text.strip())
    return words.replace("\n", detect_line_end(article.text))


def _wrap_in_tags(words: str, old: str) -> str:
    """Escapes a text and puts it into paragraphs, the first one into the tags of the old text."""
    first, *others = re.split(r"\n{2,}", escape(words, quote=False))
    begin, end = "<p>", "</p>"
    if tag := _ELEMENT.match(old):
        begin = tag[0]
        end = found[0] if (found := re.search(rf"</{tag[1]}\s*>\Z", old, re.IGNORECASE)) else f"</{tag[1]}>"
    return "\n".join([f"{begin}{first}{end}", *(f"<p>{other}</p>" for other in others)])


def _split_segments(text: str, article: Article) -> list[Segment]:
    return [Segment(block.text) for block in split_blocks(text, article.format)]


def _missing_line_ends(before: str, article: Article) -> str:
    """Returns the line ends that a blank line after the text `before` needs."""
    if not before.strip("\ufeff \t\r\n"):
        return ""
    ending = before[len(before.rstrip("\r\n \t")) :]
    missing = 2 - ending.count("\n")
    return detect_line_end(article.text) * max(missing, 0)
