"""Blocks of a text, whatever its format, and what counts as words."""

import re
from dataclasses import dataclass
from enum import Enum

GENERATOR_SYNTAX = re.compile(  # of site generators; the last line is of MDX
    r"""\s*(?: \{\{ | \{% | ::: | \$\$ | \[\^ | \[toc\] | \\(?:begin|end)\{ | <!-- | (?:!!!|\?\?\?\+?)\s+\w
      | \{/\* | (?-i: import\s[^\n]*["'] | export\s+(?:const|default|function|let)\s ) )""",
    re.IGNORECASE | re.VERBOSE,
)
CJK = r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"
_CJK_BREAK = re.compile(rf"(?<={CJK})\n|\n(?={CJK})")
_LETTERS = re.compile(r"[^\W\d_]")
_MIN_LETTERS = 4


class Kind(Enum):
    """What a block is; only a paragraph is ever a place for an image."""

    PARAGRAPH = "paragraph"
    HEADING = "heading"
    IMAGE = "image"
    FRONT_MATTER = "front matter"
    OTHER = "other"  # code, lists, quotes, tables, raw HTML, captions, definitions, rules


@dataclass(frozen=True)
class Block:
    """Lines of the text that belong together, with the blank lines after them."""

    kind: Kind
    text: str
    prose: str = ""  # the words as a reader sees them; of paragraphs and headings only


def has_prose(words: str) -> bool:
    """Whether there is enough to read for a paragraph."""
    return len(_LETTERS.findall(words)) >= _MIN_LETTERS


def join_lines(words: str) -> str:
    """Returns words in one line; a line break between Chinese characters is none."""
    return " ".join(_CJK_BREAK.sub("", words).split())
