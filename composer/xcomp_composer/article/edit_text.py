"""Changes of the words of an article, each of which can be taken back.

Pure functions from article to article; words that a model writes come in as a finished value.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from xcomp_composer.article.history import replace_segments
from xcomp_composer.article.markers import newline_of, with_blocks, without_blocks
from xcomp_composer.article.model import Article, Segment
from xcomp_composer.document.blocks import Kind
from xcomp_composer.document.html import TAG
from xcomp_composer.document.markdown import front_matter_lines, split
from xcomp_protos.errors import InvalidRequest

_ELEMENT = re.compile(rf"(?=<([a-zA-Z0-9]+))(?:{TAG.pattern})", re.VERBOSE)


def rewrite(article: Article, segment: int, text: str) -> Article:
    """Puts other words in the place of a segment's; its picture stays."""
    old = segment_of(article, segment)
    ending = old.text[len(old.text.rstrip("\r\n \t")) :]
    pieces = _pieces(_words(text, article, old) + ending, article)
    pieces[-1] = replace(pieces[-1], illustration=old.illustration)
    return _reworded(article, segment, pieces, operation=f"rewrite segment {segment}")


def insert_before(article: Article, segment: int, text: str) -> Article:
    """Puts words before a segment."""
    old = segment_of(article, segment)
    if article.format == "markdown" and front_matter_lines(old.text) and not segment:
        raise InvalidRequest(f"segment: {segment} is the front matter, which nothing may stand before")
    pieces = _pieces(_words(text, article, old, beside=True) + 2 * newline_of(article.text), article)
    before = "".join(each.text for each in article.segments[:segment])
    pieces[0] = replace(pieces[0], text=_gap(before, article) + pieces[0].text)
    return _reworded(article, segment, [*pieces, old], operation=f"insert before segment {segment}")


def insert_after(article: Article, segment: int, text: str) -> Article:
    """Puts words after a segment and its picture."""
    old = segment_of(article, segment)
    is_last = segment + 1 == len(article.segments)
    words = _words(text, article, old, beside=True)
    pieces = _pieces(words + newline_of(article.text) * (1 if is_last else 2), article)
    before = "".join(each.text for each in article.segments[: segment + 1])
    pieces[0] = replace(pieces[0], text=_gap(before, article) + pieces[0].text)
    return _reworded(article, segment, [old, *pieces], operation=f"insert after segment {segment}")


def _reworded(article: Article, at: int, pieces: Sequence[Segment], *, operation: str) -> Article:
    after = replace_segments(article, at, pieces, operation=operation)
    if without_blocks(with_blocks(after), after.format)[0] != after.text:
        raise InvalidRequest("text: opens code that it never closes, in which pictures would stand: close it")
    return after


def segment_of(article: Article, number: int) -> Segment:
    """Returns a segment; raises InvalidRequest where there is none of that number."""
    if number >= len(article.segments):
        raise InvalidRequest(f"segment: the article has {len(article.segments)}, numbered from 0; {number} is none")
    return article.segments[number]


def check_whole(article: Article, number: int) -> None:
    """Raises InvalidRequest where a segment of a page is no element of its own, which nothing may stand beside."""
    is_html = article.format == "html"
    if is_html and all(block.kind is Kind.OTHER for block in split(article.segments[number].text, "html")):
        raise InvalidRequest(f"segment: {number} is no paragraph of the page: choose one that is")


def _words(text: str, article: Article, old: Segment, *, beside: bool = False) -> str:
    words = re.sub(r"\r\n?", "\n", text.strip("\r\n \t"))
    if not words:
        raise InvalidRequest("text: is empty: give the new words")
    if article.format == "html":
        number = article.segments.index(old)
        check_whole(article, number)
        if not beside and {block.kind for block in split(old.text, "html")} <= {Kind.IMAGE, Kind.OTHER}:
            raise InvalidRequest(f"segment: {number} is a picture of the page: there are no words to replace")
        words = _markup(words, "" if beside else old.text.strip())
    return words.replace("\n", newline_of(article.text))


def _markup(words: str, old: str) -> str:
    """Puts words into paragraphs, the first into the tags that it had; words are never markup."""
    first, *others = re.split(r"\n{2,}", escape(words, quote=False))
    begin, end = "<p>", "</p>"
    if tag := _ELEMENT.match(old):
        begin = tag[0]
        end = found[0] if (found := re.search(rf"</{tag[1]}\s*>\Z", old, re.IGNORECASE)) else f"</{tag[1]}>"
    return "\n".join([f"{begin}{first}{end}", *(f"<p>{other}</p>" for other in others)])


def _pieces(text: str, article: Article) -> list[Segment]:
    return [Segment(block.text) for block in split(text, article.format)]


def _gap(before: str, article: Article) -> str:
    """The line ends that are missing for a blank line after the words before."""
    if not before.strip("\ufeff \t\r\n"):
        return ""
    ending = before[len(before.rstrip("\r\n \t")) :]
    missing = 2 - ending.count("\n")
    return newline_of(article.text) * max(missing, 0)
