"""Rules for the Markdown parser beyond CommonMark: comments of Obsidian and kramdown, and embeds of Obsidian.

Comments give hidden tokens, so that neither a page nor a search shows their words. An embedded image is an image.
"""

import re
from pathlib import PurePosixPath

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp"})
_KRAMDOWN_START = "{::comment}"
_KRAMDOWN_END = re.compile(r"\{:/(?:comment)?\}")
_EMBED = re.compile(r"!\[\[([^\[\]\n|#^]+)[^\[\]\n]*\]\]")
_INLINE_COMMENT = re.compile(r"(?<![\w%])%%(?!%)[^%]+%%(?![\w%])|\{::comment\}[^{}]*\{:/(?:comment)?\}")


def add_extensions(parser: MarkdownIt) -> None:
    """Adds the rules to a parser."""
    ends = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("fence", "comment_block", _parse_comment_block, {"alt": ends})
    parser.inline.ruler.before("image", "embed", _parse_embed)
    parser.inline.ruler.before("image", "comment", _parse_comment)


def _parse_comment_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parses a comment that begins with its line; one that is not closed is words, after `%%` alone it goes on."""
    if state.is_code_block(start):
        return False
    line = _line(state, start)
    is_kramdown = line.startswith(_KRAMDOWN_START)
    if not is_kramdown and (not line.startswith("%%") or line.startswith("%%%")):
        return False
    last = _find_end(state, start, end, is_kramdown=is_kramdown)
    if last is None:
        return False
    if not silent:
        state.line = last + 1
        token = state.push("comment_block", "", 0)
        token.map, token.hidden = [start, state.line], True
    return True


def _find_end(state: StateBlock, start: int, end: int, *, is_kramdown: bool) -> int | None:
    """Returns the last line of a comment."""
    closing = _KRAMDOWN_END if is_kramdown else re.compile("%%")
    line = _line(state, start)
    rest = line[len(_KRAMDOWN_START) if is_kramdown else 2 :]
    if match := closing.search(rest):
        return start if not rest[match.end() :].strip() else None
    key = f"no end of comments {is_kramdown}"  # a search that found none is not repeated at every opening
    if not state.env.get(key):
        last = next((number for number in range(start + 1, end) if closing.search(_line(state, number))), None)
        if last is not None:
            return last
        state.env[key] = not state.level
    return end - 1 if line.strip() == "%%" else None


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _parse_comment(state: StateInline, silent: bool) -> bool:  # noqa: ARG001  # signature of the library
    if state.src[state.pos] not in "%{":
        return False
    match = _INLINE_COMMENT.match(state.src, state.pos, state.pos + 10_000)
    if not match:
        return False
    state.pos = match.end()
    return True


def _parse_embed(state: StateInline, silent: bool) -> bool:
    match = _EMBED.match(state.src, state.pos, state.pos + 1_000) if state.src[state.pos] == "!" else None
    if not match:
        return False
    if not silent:
        name = match[1].strip()
        is_image = PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
        token = state.push("image" if is_image else "embed", "img" if is_image else "", 0)
        token.content = "" if is_image else match[0]
        token.attrs = {"src": state.md.normalizeLink(name), "alt": ""} if is_image else {}
        token.children = []
    state.pos = match.end()
    return True
