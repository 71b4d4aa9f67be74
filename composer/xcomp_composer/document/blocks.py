"""Blocks: the pieces of a text in any format, what prose is, and after which blocks an image may stand.

Every format is cut in a module of its own; `splitting` selects the module.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

# The beginning of a paragraph that is an instruction to a site generator, not prose; the last line is of MDX.
GENERATOR_SYNTAX = re.compile(
    r"""\s*(?: \{\{ | \{[%\#:!] | <% | %% | ::: | /// | \$\$ | \[\^ | \[{1,2}_?toc_?\] | \\[a-z]{2} | <!--
      | (?:!!!|\?\?\?\+?)\s+\w | ===[!+]*\s+["'] | -+8<-+ | \*\[[^\]\n]+\]: | <<< | \([\w-]+\)=\s*(?:\n|\Z)
      | \{/\* | (?-i: import\s[^\n]*["'] | export\s+(?:const|default|function|let)\s ) )""",
    re.IGNORECASE | re.VERBOSE,
)
CJK = r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"
_CJK_BREAK = re.compile(rf"(?<={CJK})\n|\n(?={CJK})")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # a line of CommonMark; str.splitlines knows more line ends
_ANNOUNCES = re.compile(r"[:：][\"'”’」』)）*_~\s]*\Z")
_LETTERS = re.compile(r"[^\W\d_]")
_MIN_LETTERS = 4


class Kind(Enum):
    """What a block is; an image may follow only a paragraph."""

    PARAGRAPH = "paragraph"
    HEADING = "heading"
    IMAGE = "image"
    FRONT_MATTER = "front matter"
    OTHER = "other"  # code, lists, quotes, tables, raw HTML, captions, definitions, rules


@dataclass(frozen=True)
class Block:
    """A piece of the text with the blank lines after it; all blocks joined are the text."""

    kind: Kind
    text: str
    prose: str = ""  # the words as a reader sees them, without markup; of paragraphs and headings only


def find_spots(blocks: Sequence[Block]) -> list[int]:
    """Returns the numbers of the blocks that an image may follow: paragraphs that the author has not illustrated.

    A paragraph that ends in a colon and announces a list, code, a quote or a table stays beside it.
    """
    return [
        number
        for number, (block, following) in enumerate(zip(blocks, [*blocks[1:], None], strict=True))
        if block.kind is Kind.PARAGRAPH and not (following and _belongs_to(block, following))
    ]


def _belongs_to(paragraph: Block, following: Block) -> bool:
    """Whether a paragraph and the block after it may not be parted."""
    if following.kind is Kind.OTHER:
        return bool(_ANNOUNCES.search(paragraph.prose[-8:]))
    return following.kind is Kind.IMAGE


def has_prose(text: str) -> bool:
    """Whether a text has enough letters for a paragraph."""
    return len(_LETTERS.findall(text)) >= _MIN_LETTERS


def join_lines(text: str) -> str:
    """Returns a text as one line; line breaks between Chinese characters are dropped."""
    return " ".join(_CJK_BREAK.sub("", text).split())


def split_lines(text: str) -> list[str]:
    """Returns the lines with their ends, counted as the Markdown parser counts them."""
    return _LINE.findall(text)


def normalize(text: str) -> str:
    """Returns the text without a byte order mark and with `\\n` for every kind of line end, as a parser needs it."""
    return re.sub(r"\r\n?", "\n", text).removeprefix("\ufeff")
