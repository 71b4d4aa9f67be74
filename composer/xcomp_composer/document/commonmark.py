"""The Markdown parser, with limits on the work that a hostile text can cause.

For every unclosed bracket and every empty cell the library walks through the text, so a few megabytes of them would
take minutes. Real texts stay far below the limits; what exceeds them is treated as words, not as markup.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block import table as library_table
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from mdit_py_plugins.deflist import deflist_plugin

from xcomp_composer.document.extensions import add_extensions

MAX_BRACKETS = 1_000  # in a paragraph
MAX_MARKS = 10_000  # in a paragraph, brackets and all others
MAX_MARKS_OF_TEXT = 100_000  # in a text
MAX_TABLE_TOKENS = 100_000  # in a text

_MARK = re.compile(r"[\[\]*_~`<&\\]")


def _parse_inline(state: StateCore) -> None:
    """Parses the inline markup of blocks; a block beyond the limits stays plain text."""
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
    """Parses tables up to a number of tokens, since the library fills up short rows with empty cells."""
    spent = state.env.get("tokens of tables", 0)
    if spent > MAX_TABLE_TOKENS:
        return False
    before = len(state.tokens)
    found = library_table(state, start, end, silent)
    state.env["tokens of tables"] = spent + len(state.tokens) - before
    return found


PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"]).use(deflist_plugin)
add_extensions(PARSER)
PARSER.core.ruler.at("inline", _parse_inline)
PARSER.block.ruler.at("table", _parse_table, {"alt": ["paragraph", "reference"]})
