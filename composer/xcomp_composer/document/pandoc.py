"""Tables and lists of Pandoc that a parser of CommonMark reads as paragraphs."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

_RULE = re.compile(r"[ \t]*-{2,}(?:[ \t]+-{2,})*[ \t]*\Z")
_COLUMNS = re.compile(r"[ \t]*-{2,}(?:[ \t]+-{2,})+[ \t]*\Z")
_LIST_OR_TABLE = re.compile(
    r"""[ ]{0,3}(?: \(@[\w-]*\) | \#\. | \(?(?:[a-zA-Z] | [ivxlcdm]{1,6} | [IVXLCDM]{1,6} | \d{1,3})\)
        | [a-z]\. | [ivxlcdm]{1,6}\. | [IVXLCDM]{2,6}\. | [A-Z]\.[ ] | \| | Table: )[ \t]+\S
      | [ ]{0,3}\+(?:[-=:]+\+)+[ \t]*(?:\n|\Z)""",
    re.VERBOSE,
)


def is_list_or_table(paragraph: str) -> bool:
    """Whether a paragraph is an item of a list, a block of lines, a grid or the caption of a table."""
    return bool(_LIST_OR_TABLE.match(paragraph))


def find_tables(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields the first line and the line after the last of tables whose columns are rules of dashes."""
    texts = [line.rstrip("\r\n") for line in lines]
    rules = [number for number, text in enumerate(texts) if _RULE.match(text)]
    last = 0
    for number, following in pairwise([*rules, len(texts)]):
        if number < last or not _COLUMNS.match(texts[number]):
            continue
        first, last = _find_paragraph(texts, number)
        if following < len(texts) and 2 * len(texts[following].strip()) >= len(texts[number].strip()):
            last = max(last, following + 1)
        yield first, last


def _find_paragraph(texts: Sequence[str], number: int) -> tuple[int, int]:
    """Returns the first line and the line after the last of the lines around a number that no blank line parts."""
    first, last = number, number + 1
    while first and texts[first - 1].strip():
        first -= 1
    while last < len(texts) and texts[last].strip():
        last += 1
    return first, last
