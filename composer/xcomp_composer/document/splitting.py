"""A text in any format as blocks, and its title."""

import re
from collections.abc import Sequence
from html import unescape

from xcomp_composer.document.blocks import CJK, Block, Kind, join_lines
from xcomp_composer.document.front_matter import find_front_matter_title
from xcomp_composer.document.html import split_html
from xcomp_composer.document.markdown import split_markdown
from xcomp_composer.document.plain_text import split_text

_SPLITTERS = {"html": split_html, "text": split_text}
_PAGE_TITLE = re.compile(r"<title\b[^<>]*>([^<]*)</title", re.IGNORECASE)
_TITLE_WORDS = 8
_TITLE_IDEOGRAPHS = 20


def split_blocks(text: str, format_: str = "markdown") -> list[Block]:
    """Cuts a text into blocks; joined they are the text, character for character."""
    return _SPLITTERS.get(format_, split_markdown)(text)


def find_title(blocks: Sequence[Block], format_: str = "markdown") -> str:
    """Returns the title in the front matter, else the first heading, else the title of a page, else the first words."""
    titles = (find_front_matter_title(block.text) for block in blocks if block.kind is Kind.FRONT_MATTER)
    headings = (block.prose for block in blocks if block.kind is Kind.HEADING)
    if title := next(filter(None, [*titles, *headings]), ""):
        return title
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
