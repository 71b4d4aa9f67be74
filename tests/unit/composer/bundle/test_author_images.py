"""Images that a text names in any way come along with its bundle."""

from pathlib import Path

import pytest

from xcomp_composer.article.model import Article, Segment
from xcomp_composer.bundle.author_images import copy_author_images


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('<img src="p/a.jpg" srcset="p/a-2x.jpg 2x, p/b%20c.jpg 3x">', {"p/a.jpg", "p/a-2x.jpg", "p/b c.jpg"}),
        ("<picture><source type='image/webp' srcset='a.webp'><img src=a.jpg></picture>", {"a.webp", "a.jpg"}),
        ('<video poster="p.jpg" controls></video>', {"p.jpg"}),
        ('<img srcset="a.jpg, b.jpg,c.jpg 2x,\n d.jpg 100w" src="e.jpg">', {"a.jpg", "d.jpg", "e.jpg"}),
        ('<img srcset="data:image/png;base64,aa== 1x, a.jpg 2x" src="../x.jpg">', {"a.jpg"}),
        ('<svg><image href="a.png"/><image xlink:href="b.png"/></svg>', {"a.png", "b.png"}),
        ('<link rel="icon" href="a.png"><link rel="stylesheet" href="a.css">', {"a.png"}),
        ('<a href="a.jpg">no image</a>', set()),
    ],
)
@pytest.mark.parametrize("format_", ["html", "markdown"])
def test_images_of_tags_come_along(tmp_path: Path, text: str, names: set[str], format_: str) -> None:
    source, folder = tmp_path / "source", tmp_path / "bundle"
    folder.mkdir()
    for name in (
        "p/a.jpg",
        "p/a-2x.jpg",
        "p/b c.jpg",
        *(f"{letter}.jpg" for letter in "abcdep"),
        "a.webp",
        "a.png",
        "b.png",
        "a.css",
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"image")
    copy_author_images(Article("", "en", "", "", (Segment(text),), format=format_), source, folder)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} >= names
    assert not (folder / "a.css").exists()
    assert bool(names) == any(folder.iterdir())


def test_an_embedded_image_of_obsidian_comes_along(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "s" / "tulips 2024.jpg").write_bytes(b"image")
    article = Article("", "en", "", "", (Segment("Words.\n\n![[tulips 2024.jpg|300]]\n"),))
    copy_author_images(article, tmp_path / "s", tmp_path / "b")
    assert (tmp_path / "b" / "tulips 2024.jpg").read_bytes() == b"image"
