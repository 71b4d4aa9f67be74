"""The author's own images: they are copied into the bundle, to the paths that the text links to.

Only images below the folder of the article are copied, unchanged. A link to another place stays as it is.
"""

import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from markdown_it.token import Token

from xcomp_composer.article.model import Article
from xcomp_composer.document.extensions import IMAGE_SUFFIXES
from xcomp_composer.document.markdown import parse

_TAG = re.compile(r"<(?:img|source|video|image|input|link)\s[^<>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"\s(src|srcset|imagesrcset|poster|href|xlink:href|data-src|data-srcset)\s*=\s*"
    r"(?:\"([^\"<>]*)\"|'([^'<>]*)'|([^\s\"'<>]+))",
    re.IGNORECASE,
)
_CANDIDATE = re.compile(r"[^\s,]\S*")  # a URL of a set: up to white space


def copy_author_images(article: Article, source: Path, folder: Path) -> None:
    """Copies the images that the text links to from `source`, the folder of the article, to the bundle in `folder`."""
    source, folder = source.resolve(), folder.resolve()
    added = {illustration.file for _, illustration in article.illustrations}
    for name in sorted(set(_list_image_paths(article)) - added):
        file = (source / name).resolve()
        if source != folder and file.is_relative_to(source) and file.is_file():
            target = folder / name
            if target.parent.resolve().is_relative_to(folder):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


def _list_image_paths(article: Article) -> Iterator[str]:
    """Yields the relative paths of linked images, in the form of the file system."""
    for link in _find_links(article):
        name = PurePosixPath(unquote(urlsplit(link).path)) if _is_relative(link) else None
        if name and name.suffix.lower() in IMAGE_SUFFIXES and ".." not in name.parts and "\0" not in str(name):
            yield str(name)


def _is_relative(link: str) -> bool:
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    return not (parts.scheme or parts.netloc or parts.path.startswith(("/", "\\")))


def _find_links(article: Article) -> Iterator[str]:
    if article.format != "text":
        for tag in _TAG.finditer(article.text):
            for name, *values in _ATTRIBUTE.findall(tag.group()):
                value = unescape("".join(values))
                yield from _split_set(value) if name.lower().endswith("srcset") else [value]
    if article.format == "markdown":
        yield from (str(token.attrs["src"]) for token in _walk(parse(article.text)) if token.type == "image")


def _split_set(value: str) -> Iterator[str]:
    """Yields the URLs of a set of images, each with a width or a density after it that may be left out."""
    position = 0
    while match := _CANDIDATE.search(value, position):
        url = match.group().rstrip(",")
        yield url
        end = value.find(",", match.end())
        position = match.end() if match.group() != url else end + 1 if end >= 0 else len(value)


def _walk(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _walk(token.children or [])
