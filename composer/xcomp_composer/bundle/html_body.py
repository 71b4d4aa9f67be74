"""The text and the images of an article as HTML, each image after its segment.

The text is parsed as a whole, so that a link may be defined in another segment. A figure follows the last block that
begins before its segment ends. Raw HTML is shown as text, comments are removed, and nothing is loaded from the network.
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
from xcomp_composer.document.blocks import Kind, normalize, split_lines
from xcomp_composer.document.commonmark import PARSER
from xcomp_composer.document.html import strip_comments
from xcomp_composer.document.markdown import parse
from xcomp_composer.document.splitting import split_blocks

_LEDE_CHARACTERS = 180  # a drop cap is three lines high


def render_body(article: Article) -> str:
    """Returns the HTML of the text and its figures."""
    if article.format == "text":
        return "\n".join(_render_text(number, article) for number in range(len(article.segments)))
    tokens = parse(article.text)
    last_lines = list(accumulate(len(split_lines(segment.text)) for segment in article.segments))
    pieces: list[str] = []
    start = 0
    for number, illustration in article.illustrations:
        end = _find_token(tokens, last_lines[number])
        pieces += [_render(tokens[start:end]), render_figure(illustration)]
        start = end
    return _mark_lede("".join([*pieces, _render(tokens[start:])]), article.language)


def has_heading(article: Article) -> bool:
    """Whether the text has a heading that serves as its title."""
    if article.format == "text":
        return any(block.kind is Kind.HEADING for block in split_blocks(article.text, "text"))
    return any(token.type == "heading_open" and token.tag == "h1" for token in parse(article.text))


def _find_token(tokens: Sequence[Token], line: int) -> int:
    """Returns the index of the first top-level token that begins at or after a line."""
    starts = (i for i, token in enumerate(tokens) if not token.level and token.map and token.map[0] >= line)
    return next(starts, len(tokens))


def _render(tokens: Sequence[Token]) -> str:
    return _RENDERER.render(tokens, PARSER.options, {})


def _mark_lede(html: str, language: str) -> str:
    """Marks the first paragraph for a drop cap if it is English, long enough, and begins with a letter."""
    opening = re.search(r"<p>(?=[A-Za-z])([^<]|<(?!/p>))*", html)
    if language != "en" or not opening or opening.end() - opening.start() < _LEDE_CHARACTERS:
        return html
    return f'{html[: opening.start()]}<p class="lede">{html[opening.start() + len("<p>") :]}'


def _render_text(number: int, article: Article) -> str:
    segment = article.segments[number]
    figure = render_figure(segment.illustration) if segment.illustration else ""
    pieces = []
    for block in split_blocks(segment.text, "text"):
        text = escape(normalize(block.text).strip())
        tag = "h1" if block.kind is Kind.HEADING and not number else "h2" if block.kind is Kind.HEADING else "p"
        pieces.append(f"<{tag}>{text}</{tag}>\n" if text else "")
    return "".join([*pieces, figure])


class _Renderer(RendererHTML):
    """The renderer of the library, but with raw HTML as text, without remote images and inline styles."""

    def html_block(self, tokens: Sequence[Token], idx: int, _: OptionsDict, __: EnvType) -> str:
        markup = escape(strip_comments(tokens[idx].content).strip())
        return f"<pre><code>{markup}</code></pre>\n" if markup else ""

    def html_inline(self, tokens: Sequence[Token], idx: int, _: OptionsDict, __: EnvType) -> str:
        return escape(strip_comments(tokens[idx].content))

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        source = str(token.attrs.get("src", ""))
        alt = self.renderInlineAsText(token.children or [], options, env)
        if urlsplit(source).scheme in ("http", "https") or source.startswith("//"):
            return f'<a href="{escape(source)}" rel="noopener noreferrer">{escape(alt or source)}</a>'
        return f'<img src="{escape(source)}" alt="{escape(alt)}">'

    def embed(self, tokens: Sequence[Token], idx: int, _: OptionsDict, __: EnvType) -> str:
        return escape(tokens[idx].content)

    def th_open(self, tokens: Sequence[Token], idx: int, _: OptionsDict, __: EnvType) -> str:
        return _render_cell(tokens[idx])

    def td_open(self, tokens: Sequence[Token], idx: int, _: OptionsDict, __: EnvType) -> str:
        return _render_cell(tokens[idx])


def _render_cell(token: Token) -> str:
    align = str(token.attrs.get("style", "")).rpartition(":")[2]
    return f'<{token.tag} class="{align}">' if align in ("right", "center") else f"<{token.tag}>"


_RENDERER = _Renderer()
