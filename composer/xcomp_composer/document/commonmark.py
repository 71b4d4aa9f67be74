"""The Markdown parser, with a bound on what a hostile text can cost.

Every unclosed bracket and every empty cell costs the library a walk of its own, so that a few megabytes of nothing else
would keep it busy for minutes. Texts of people stay far below the bounds; what lies beyond them is words, not markup.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block import table as library_table
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

MAX_BRACKETS = 1_000  # in a paragraph
MAX_MARKS = 10_000  # in a paragraph, brackets and all others
MAX_MARKS_OF_TEXT = 100_000  # in a text
MAX_TABLE_TOKENS = 100_000  # in a text

_MARK = re.compile(r"[\[\]*_~`<&\\]")


def _parse_inline(state: StateCore) -> None:
    """Parses the words of blocks; those beyond the bounds stay as they are."""
    left = MAX_MARKS_OF_TEXT
    for token in state.tokens:
        if token.type != "inline":
            continue
        marks = len(_MARK.findall(token.content))
        left -= marks
        token.children = []
        if marks > MAX_MARKS or left < 0 or token.content.count("[") > MAX_BRACKETS:
            token.children.append(Token("text", "", 0, content=token.content))
        else:
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _parse_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parses tables until they have cost enough; rows are filled up with cells that nobody wrote."""
    spent = state.env.get("tokens of tables", 0)
    if spent > MAX_TABLE_TOKENS:
        return False
    before = len(state.tokens)
    found = library_table(state, start, end, silent)
    state.env["tokens of tables"] = spent + len(state.tokens) - before
    return found


PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
PARSER.core.ruler.at("inline", _parse_inline)
PARSER.block.ruler.at("table", _parse_table, {"alt": ["paragraph", "reference"]})
