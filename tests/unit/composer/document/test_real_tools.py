"""What the real tools make of an illustrated text: the text as before, and our images as blocks of their own."""

import re
from collections.abc import Callable

import pytest

from tests.unit.composer.document.test_dialects import TEXTS, illustrate
from xcomp_composer.article.markers import insert_image_blocks

_OURS = re.compile(
    r"(?:<!--\s*xcomp:begin\+? \w+\s*-->\s*)?<(?P<tag>p|figure|div)[^<>]*>\s*<img[^<>]*images/a\.jpg.*?</(?P=tag)>\s*"
    r"(?:<p><em>A .*?caption</em></p>\s*)?(?:<!--\s*xcomp:end\+? \w+\s*-->)?",
    re.DOTALL,
)


def check(text: str, render: Callable[[str], str]) -> None:
    """Fails unless the page of the illustrated text, without our images, is the page of the text."""
    article = illustrate(text)
    page = render(insert_image_blocks(article))
    rest, count = _OURS.subn("", page)
    assert count == len(article.illustrations), page
    assert _squeeze(rest) == _squeeze(render(text))


def _squeeze(page: str) -> str:
    page = re.sub(r"<p>\s*(?:<!--.*?-->\s*)*</p>|<!-- xcomp.*?-->", "", page)
    return re.sub(r"\s+", "", page)


def _names(*words: str) -> list[str]:
    return [name for name in TEXTS if any(word in name for word in words)]


@pytest.mark.parametrize("name", _names("tabs", "admonitions", "slashes", "abbreviations", "definitions", "note below"))
def test_python_markdown_with_pymdownx(name: str) -> None:
    markdown = pytest.importorskip("markdown")
    pytest.importorskip("pymdownx")
    blocks = [f"pymdownx.blocks.{each}" for each in ("admonition", "details", "tab")]
    extensions = ["extra", "admonition", "pymdownx.details", "pymdownx.tabbed", *blocks]
    if "slashes" in name:
        extensions.remove("pymdownx.tabbed")
    else:
        extensions.remove("pymdownx.blocks.tab")
    check(TEXTS[name], lambda text: str(markdown.markdown(text, extensions=extensions)))


@pytest.mark.parametrize("name", _names("definitions", "table", "lists", "LaTeX", "block of lines", "embeds"))
def test_pandoc(name: str) -> None:
    pypandoc = pytest.importorskip("pypandoc")
    check(
        TEXTS[name],
        lambda text: str(pypandoc.convert_text(text, "html", format="markdown", extra_args=["--wrap=none"])),
    )


@pytest.mark.parametrize("name", [name for name in TEXTS if "comment" not in name])
def test_mistune(name: str) -> None:
    mistune = pytest.importorskip("mistune")
    plugins = ["table", "def_list", "abbr", "footnotes", "strikethrough"]
    render = mistune.create_markdown(escape=False, plugins=plugins)
    check(TEXTS[name], lambda text: str(render(text)))


def test_liquid_and_jinja_leave_metadata_alone_and_their_blocks_whole() -> None:
    liquid, jinja2 = pytest.importorskip("liquid"), pytest.importorskip("jinja2")
    text = TEXTS["Liquid"].replace("{%- else -%}\n\ninner 2.\n\n", "")
    of_liquid, of_jinja = liquid.Environment(), jinja2.Environment(autoescape=True)
    renders: list[Callable[[str], str]] = [
        lambda source: str(of_liquid.from_string(source).render(x=True)),
        lambda source: str(of_jinja.from_string(source.replace("assign", "set")).render(x=True)),
    ]
    for render in renders:
        marked = insert_image_blocks(illustrate(text))
        page = render(marked)
        assert page.count("images/a.jpg") == marked.count("images/a.jpg") == 2
        assert "&#123;% raw %&#125;" in page
        stripped = re.sub(r"<!-- xcomp:begin.*?xcomp:end\+? \w+ -->", "", page, flags=re.DOTALL)
        assert _squeeze(stripped) == _squeeze(render(text))
