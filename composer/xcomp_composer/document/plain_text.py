"""Plain text as blocks: paragraphs between blank lines, and short lines that are headings."""

import re
from itertools import pairwise

from xcomp_composer.document.blocks import Block, Kind, has_prose, join_lines, normalize, split_lines

_LIST_ITEM_OR_ROW = re.compile(r"\s*(?:[-*+•‣◦▪]\s|[|+][-=|\s])")  # of a list or a table
_SENTENCE_END = re.compile(r"[.!?。！？…:：;；][\"'”’」』)）]*\s*$")
_MAX_HEADING_CHARACTERS = 80


def split_text(text: str) -> list[Block]:
    """Cuts a plain text into blocks; in a text without blank lines, every line is a paragraph."""
    lines = split_lines(text)
    by_line = all(line.strip() for line in lines)
    starts = [
        number
        for number, line in enumerate(lines)
        if line.strip() and (by_line or not number or not lines[number - 1].strip())
    ]
    cuts = pairwise([0, *starts[1:], len(lines)] if lines else [])
    return [_classify("".join(lines[a:b]), is_last=b == len(lines)) for a, b in cuts]


def _classify(text: str, *, is_last: bool) -> Block:
    """A short line without a full stop is a heading where something follows."""
    words = normalize(text.strip()).strip()
    prose = join_lines(words)
    if not has_prose(prose) or _LIST_ITEM_OR_ROW.match(words):
        return Block(Kind.OTHER, text)
    is_short = "\n" not in words and len(prose) <= _MAX_HEADING_CHARACTERS
    is_heading = is_short and not is_last and not _SENTENCE_END.search(prose)
    return Block(Kind.HEADING if is_heading else Kind.PARAGRAPH, text, prose)
