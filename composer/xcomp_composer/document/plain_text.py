"""Plain text as blocks: paragraphs between blank lines, and short lines that are headings.

Lines of a text that is wrapped at a width belong together; in a text whose lines are paragraphs, or begin with an
indentation as in Chinese, every line is one. Lists, quotes, code, rules and signatures are no prose.
"""

import re
from collections.abc import Iterator, Sequence, Set
from itertools import groupby, pairwise

from xcomp_composer.document.blocks import CJK, Block, Kind, has_prose, join_lines, normalize, split_lines

_NO_PROSE = re.compile(
    r"""\s*(?: [-*+•‣◦▪●○■□·–—][\s\u3000] | [|+][-=|\s] | > | ```|~~~ | [①-⑳]
      | \(?(?:\d{1,3}|[a-zA-Z]|[ivxlcdm]{1,6})[.)](?:\s|\Z) | \d{1,3}[、．)）]
      | [(（](?:\d{1,3}|[一二三四五六七八九十]{1,3})[)）] | [一二三四五六七八九十]{1,3}[、．] )""",
    re.VERBOSE,
)
_CODE = re.compile(r" {4}|\t")
_SIGNATURE = re.compile(r"--[ ]?(?:\r\n|\r|\n)\Z")
_SENTENCE_END = re.compile(r"[.!?。！？…:：;；][\"'”’」』)）]*\s*$")
_IDEOGRAPH_INDENT = re.compile(r"[\u3000\u00a0]")
_MAX_HEADING_CHARACTERS = 80
_WRAP_WIDTHS = range(40, 101)  # the longest line of a text that is wrapped
_MIN_FULL_LINE = 0.6  # a line that ends before this share of the width ends a paragraph


def split_text(text: str) -> list[Block]:
    """Cuts a plain text into blocks."""
    lines = split_lines(text)
    by_line = set(_find_lines_of_their_own(lines))
    starts = [number for number, line in enumerate(lines) if line.strip() and _starts_block(lines, number, by_line)]
    blocks: list[Block] = []
    is_signature = False
    for a, b in pairwise([0, *starts[1:], len(lines)] if lines else []):
        is_signature = is_signature or bool(_SIGNATURE.match(lines[a]))
        words = "".join(lines[a:b])
        blocks.append(Block(Kind.OTHER, words) if is_signature else _classify(words, is_last=b == len(lines)))
    return blocks


def _starts_block(lines: Sequence[str], number: int, by_line: Set[int]) -> bool:
    """Whether a line begins a block: after a blank line, with an indentation of Chinese, or as a line of its own."""
    if number in by_line or not number or not lines[number - 1].strip():
        return True
    return bool(_IDEOGRAPH_INDENT.match(lines[number]) or _SIGNATURE.match(lines[number]))


def _find_lines_of_their_own(lines: Sequence[str]) -> Iterator[int]:
    """Yields the lines that are paragraphs although no blank line parts them."""
    if all(line.strip() for line in lines) and not _is_wrapped(lines):
        yield from range(len(lines))
        return
    for is_words, run in groupby(range(len(lines)), key=lambda number: bool(lines[number].strip())):
        numbers = list(run)
        texts = [lines[number].strip() for number in numbers]
        are_whole = is_words and all(map(_SENTENCE_END.search, texts))
        if are_whole and (re.search(CJK, texts[0]) or max(map(len, texts)) not in range(_WRAP_WIDTHS.stop)):
            yield from numbers


def _is_wrapped(lines: Sequence[str]) -> bool:
    """Whether the lines of a text without blank lines are one paragraph that was wrapped at a width."""
    texts = [line.strip() for line in lines]
    width = max(map(len, texts), default=0)
    if len(texts) < 2 or width not in _WRAP_WIDTHS or re.search(CJK, texts[0]):
        return False
    broken = [not _SENTENCE_END.search(text) for text in texts[:-1]]
    is_full = all(len(text) >= _MIN_FULL_LINE * width for text in texts[:-1])
    return is_full and any(broken)


def _classify(text: str, *, is_last: bool) -> Block:
    """A short line without a full stop is a heading where something follows."""
    words = normalize(text.strip()).strip()
    prose = join_lines(words)
    if not has_prose(prose) or _NO_PROSE.match(words) or _CODE.match(text.lstrip("\ufeff\r\n")):
        return Block(Kind.OTHER, text)
    is_short = "\n" not in words and len(prose) <= _MAX_HEADING_CHARACTERS
    is_heading = is_short and not is_last and not _SENTENCE_END.search(prose)
    return Block(Kind.HEADING if is_heading else Kind.PARAGRAPH, text, prose)
