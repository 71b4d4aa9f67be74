"""article.html: the article as a page that opens from the file system, in light and dark, without scripts.

The content security policy of the page allows its inline style sheet, by its hash, and images beside the page.
"""

import base64
import hashlib
from functools import cache
from html import escape
from importlib.resources import files

from xcomp_composer.article.model import Article
from xcomp_composer.bundle.html_body import has_heading, render_body

_POLICY = "default-src 'none'; img-src 'self' file: data:; base-uri 'none'; form-action 'none'"
_DRAFT = {
    "en": "Draft. A small language model wrote this text. It may contain false statements: check each one before use.",
    "zh": "草稿。本文由小型语言模型撰写，可能含有不实内容，使用前请逐句核实。",
}
_FOOTER = {
    "en": "Images chosen by {model} from “{repository}” · profile {profile} · {review}",
    "zh": "配图由 {model} 从“{repository}”中选出 · 配置 {profile} · {review}",
}
_REVIEW = {"en": "how they were chosen", "zh": "选图过程"}


def render_article_page(article: Article) -> str:
    """Returns the text of article.html."""
    parts = [
        "" if has_heading(article) or not _has_given_title(article) else f"<h1>{escape(article.title)}</h1>\n",
        f'<aside class="note draft" role="note">{_translate(_DRAFT, article)}</aside>\n' if article.draft else "",
        render_body(article),
        _render_footer(article) if article.illustrations else "",
    ]
    return render_document(article, f"<article>\n{''.join(parts)}</article>", "page.css")


def render_document(article: Article, body: str, *styles: str, title: str = "") -> str:
    """Returns an HTML document in the language of the article, with these style sheets inline."""
    css = "".join(read_style_sheet(name) for name in styles)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"{_POLICY}; style-src 'sha256-{digest}'"
    return (
        f'<!doctype html>\n<html lang="{"zh-CN" if article.language == "zh" else "en"}">\n<head>\n'
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<meta name="generator" content="xcomp">\n'
        f"<title>{escape(title or article.title)}</title>\n<style>{css}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


@cache
def read_style_sheet(name: str) -> str:
    """Returns the text of a style sheet in the folder of this module."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _has_given_title(article: Article) -> bool:
    """Whether the title is not just the first words of the text, which would then stand twice."""
    return bool(article.title) and article.title == article.title.rstrip("… ")


def _render_footer(article: Article) -> str:
    review = f'<a href="review.html">{_translate(_REVIEW, article)}</a>'
    text = escape(_translate(_FOOTER, article)).format(
        model=escape(", ".join(article.choosers)),
        repository=escape(article.repository),
        profile=escape(article.profile),
        review=review,
    )
    return f'<footer class="note">{text}</footer>\n'


def _translate(table: dict[str, str], article: Article) -> str:
    return table["zh" if article.language == "zh" else "en"]
