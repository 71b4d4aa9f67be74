"""An article is read by its format; formats that would be damaged are refused by name."""

from pathlib import Path

import pytest

from xcomp_cli.articles.source import read
from xcomp_protos.errors import InvalidRequest


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.md", "markdown"), ("a.markdown", "markdown"), ("a.qmd", "markdown"), ("a", "markdown"), ("a.txt", "text"),
        ("a.html", "html"), ("a.HTM", "html"), ("a.xhtml", "html"), ("a.xht", "html"), ("a.mdx", "markdown"),
    ],
)  # fmt: skip
def test_the_suffix_says_the_format(tmp_path: Path, name: str, format_: str) -> None:
    (tmp_path / name).write_text("Words.\n", encoding="utf-8")
    assert read(tmp_path / name) == ("Words.\n", format_)


@pytest.mark.parametrize(
    ("name", "format_"),
    [("doc.adoc", "AsciiDoc"), ("doc.RST", "reStructuredText"), ("a.org", "Org"), ("a.tex", "LaTeX"), ("a.vue", "Vue")],
)
def test_other_formats_are_refused_by_name(tmp_path: Path, name: str, format_: str) -> None:
    (tmp_path / name).write_text("= A slow morning\n", encoding="utf-8")
    with pytest.raises(InvalidRequest, match=f"{format_}.*not supported: convert it"):
        read(tmp_path / name)
