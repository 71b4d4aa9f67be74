"""The article's words and images as HTML, each image after its segment.

The text is rendered as a whole, so that links defined far away work; a figure goes in after the last block that began
before its segment ended. Raw HTML is shown as the text it is, comments vanish, and nothing is loaded from elsewhere.
"""

import re
from collections.abc import Sequence
from html import escape
from itertools import accumulate
from urllib.parse import urlsplit

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from xcomp_composer.article.figure import render_figure
from xcomp_composer.article.model import Article
from xcomp_composer.document.blocks import Kind
from xcomp_composer.document.commonmark import PARSER
from xcomp_composer.document.html import strip_comments
from xcomp_composer.document.markdown import normalize, parse, split_blocks, split_lines

_LEDE_CHARACTERS = 180  # a drop cap needs three lines beside it


def render_body(article: Article) -> str:
    """Returns the HTML of the text and its figures."""
    if article.format == "text":
        return "\n".join(_render_text(number, article) for number in range(len(article.segments)))
    tokens = parse(article.text)
    ends = list(accumulate(len(split_lines(segment.text)) for segment in article.segments))
    pieces: list[str] = []
    done = 0
    for number, illustration in article.illustrations:
        upto = _find_token(tokens, ends[number])
        pieces += [_render(tokens[done:upto]), render_figure(illustration)]
        done = upto
    return _mark_lede("".join([*pieces, _render(tokens[done:])]), article.language)


def has_heading(article: Article) -> bool:
    """Whether the text shows a title of its own."""
    if article.format == "text":
        return any(block.kind is Kind.HEADING for block in split_blocks(article.text, "text"))
    return any(token.type == "heading_open" and token.tag == "h1" for token in parse(article.text))


def _find_token(tokens: Sequence[Token], line: int) -> int:
    """Index of the first top-level token that begins at or after a line."""
    starts = (i for i, token in enumerate(tokens) if not token.level and token.map and token.map[0] >= line)
    return next(starts, len(tokens))


def _render(tokens: Sequence[Token]) -> str:
    return _RENDERER.render(tokens, PARSER.options, {})


def _mark_lede(html: str, language: str) -> str:
    """Marks the first paragraph for a drop cap where it is an English one, long enough, and begins with a letter."""
    opening = re.search(r"<p>(?=[A-Za-z])([^<]|<(?!/p>))*", html)
    if language != "en" or not opening or opening.end() - opening.start() < _LEDE_CHARACTERS:
        return html
    return f'{html[: opening.start()]}<p class="lede">{html[opening.start() + len("<p>") :]}'


def _render_text(number: int, article: Article) -> str:
    segment = article.segments[number]
    figure = render_figure(segment.illustration) if segment.illustration else ""
    pieces = []
    for block in split_blocks(segment.text, "text"):
        words = escape(normalize(block.text).strip())
        tag = "h1" if block.kind is Kind.HEADING and not number else "h2" if block.kind is Kind.HEADING else "p"
        pieces.append(f"<{tag}>{words}</{tag}>\n" if words else "")
    return "".join([*pieces, figure])


class _Renderer(RendererHTML):
    """The library's renderer, with raw HTML as text, no remote images, and no inline styles."""

    def html_block(self, tokens: Sequence[Token], idx: int, _: OptionsDict, __: EnvType) -> str:
        words = escape(strip_comments(tokens[idx].content).strip())
        return f"<pre><code>{words}</code></pre>\n" if words else ""

    def html_inline(self, tokens: Sequence[Token], idx: int, _: OptionsDict, __: EnvType) -> str:
        return escape(strip_comments(tokens[idx].content))

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        source = str(token.attrs.get("src", ""))
        words = self.renderInlineAsText(token.children or [], options, env)
        if urlsplit(source).scheme in ("http", "https") or source.startswith("//"):
            return f'<a href="{escape(source)}" rel="noopener noreferrer">{escape(words or source)}</a>'
        return f'<img src="{escape(source)}" alt="{escape(words)}">'

    def th_open(self, tokens: Sequence[Token], idx: int, _: OptionsDict, __: EnvType) -> str:
        return _render_cell(tokens[idx])

    def td_open(self, tokens: Sequence[Token], idx: int, _: OptionsDict, __: EnvType) -> str:
        return _render_cell(tokens[idx])


def _render_cell(token: Token) -> str:
    side = str(token.attrs.get("style", "")).rpartition(":")[2]
    return f'<{token.tag} class="{side}">' if side in ("right", "center") else f"<{token.tag}>"


_RENDERER = _Renderer()
