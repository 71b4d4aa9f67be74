"""Writes an article as a folder of its own, a bundle, or into a static site.

Every file is replaced as a whole and article.json is written last, so that after an interrupted run a reader sees the
old bundle or the new one. Does not depend on the indexer: `fetch` returns the images.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from xcomp_composer.article import serialize
from xcomp_composer.article.markers import insert_image_blocks
from xcomp_composer.article.model import Article, Illustration
from xcomp_composer.bundle import site_assets as site
from xcomp_composer.bundle.author_images import copy_author_images
from xcomp_composer.bundle.page import render_article_page
from xcomp_composer.bundle.review import render_review_page
from xcomp_composer.document.html import find_ambiguous_line
from xcomp_protos.errors import InvalidRequest, NotFound

Fetch = Callable[[str, int], tuple[bytes, str]]  # image id and longest side in pixels to bytes and file suffix

PUBLISHED_PX = 2048
THUMBNAIL_PX = 360
_MAX_SLUG_CHARACTERS = 48
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


def write_bundle(article: Article, folder: Path, fetch: Fetch, *, source: Path | None = None) -> Article:
    """Writes the bundle of an article into a folder, and returns the article with the file names of its images.

    Images of an earlier bundle that the article no longer shows are removed; other files in the folder stay. An image
    that is no longer in the repository keeps its file in the bundle. The author's own images are copied from `source`,
    the folder of the article.

    Raises:
        NotFound: an image is neither in the repository nor in the bundle.
    """
    before = _list_own_files(folder)
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    written = _name_files(article, lambda illustration: f"images/{_publish(illustration, images, fetch, folder)}")
    if written.format == "html":
        _write(folder / "article.html", insert_image_blocks(written).encode())  # the author's own page
    else:
        _write(folder / "article.md", insert_image_blocks(written).encode())
        _write(folder / "article.html", render_article_page(written).encode())
    if source:
        copy_author_images(written, source, folder)
    _write(folder / "review.html", render_review_page(written, _cache_thumbnails(fetch)).encode())
    _write(folder / "article.json", serialize.dumps(written).encode())
    for stale in before - {illustration.file for _, illustration in written.illustrations}:
        (folder / stale).unlink(missing_ok=True)
    return written


def write_without_images(article: Article, folder: Path) -> None:
    """Writes the files of a bundle that need no indexer: the text, and article.json for a later edit."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"article.{'html' if article.format == 'html' else 'md'}", article.text.encode())
    _write(folder / "article.json", serialize.dumps(article).encode())


def has_all_files(article: Article) -> bool:
    """Whether every image of the article has a file."""
    return all(illustration.file for _, illustration in article.illustrations)


def write_in_place(article: Article, file: Path, *, assets: Path, url_prefix: str, fetch: Fetch) -> Article:
    """Writes the article to its file and its images to a folder of the site, linked as `url_prefix/NAME`.

    Our images that no article of the site shows any more are removed.
    """
    assets.mkdir(parents=True, exist_ok=True)
    prefix = f"{url_prefix.rstrip('/')}/" if url_prefix else ""
    written = _name_files(article, lambda illustration: f"{prefix}{_publish(illustration, assets, fetch, None)}")
    _write(file.resolve(), insert_image_blocks(written).encode())  # a symbolic link stays one
    names = [illustration.file.removeprefix(prefix) for _, illustration in written.illustrations]
    users, unused = site.update_usage(site.read_usage(assets), file, names, assets=assets)
    for name in filter(site.is_image_name, unused):
        (assets / name).unlink(missing_ok=True)
    _write(assets / site.USAGE_FILE, site.format_usage(users).encode())
    return written


def find_unread_line(article: Article) -> int | None:
    """Returns the line of an HTML page from which on its tags are ambiguous and nothing was changed; else None."""
    return find_ambiguous_line(article.text) if article.format == "html" else None


def read_bundle(folder: Path) -> Article:
    """Reads the article of a bundle.

    Raises:
        NotFound: the folder has no article.json.
        InvalidRequest: article.json is not valid.
    """
    path = folder / "article.json"
    try:
        return serialize.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{folder} is not an article bundle: it has no article.json") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8") from None


def _name_files(article: Article, name: Callable[[Illustration], str]) -> Article:
    segments = tuple(
        replace(segment, illustration=replace(segment.illustration, file=name(segment.illustration)))
        if segment.illustration
        else segment
        for segment in article.segments
    )
    return replace(article, segments=segments)


def _publish(illustration: Illustration, images: Path, fetch: Fetch, folder: Path | None) -> str:
    """Writes an image under its name, and returns the name."""
    try:
        data, suffix = fetch(illustration.image_id, PUBLISHED_PX)
    except NotFound:
        kept = folder / illustration.file if folder and illustration.file else None
        if kept and kept.parent == images and kept.is_file():
            return kept.name
        raise
    if not _SUFFIX.fullmatch(suffix):
        raise InvalidRequest(f"the indexer gives an image the suffix {suffix!r}: expected one such as .jpg")
    name = f"{_slug(illustration)}{suffix}"
    _write(images / name, data)
    return name


def _slug(illustration: Illustration) -> str:
    """Returns a short name from the caption, unique by the id of the image."""
    plain = (
        unicodedata.normalize("NFKD", illustration.caption or illustration.alt)
        .encode("ascii", "ignore")
        .decode()
        .lower()
    )
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(words) > _MAX_SLUG_CHARACTERS:
        words = words[:_MAX_SLUG_CHARACTERS].rpartition("-")[0] or words[:_MAX_SLUG_CHARACTERS]
    key = re.sub(r"[^A-Za-z0-9]", "", illustration.image_id)[:12] or "picture"
    return f"{words}-{key}" if words else key


def _cache_thumbnails(fetch: Fetch) -> Callable[[str], tuple[bytes, str] | None]:
    @cache
    def thumbnail(image_id: str) -> tuple[bytes, str] | None:
        try:
            return fetch(image_id, THUMBNAIL_PX)
        except NotFound:
            return None

    return thumbnail


def _list_own_files(folder: Path) -> set[str]:
    """Returns the image files that the bundle in the folder wrote, which are ours to remove."""
    with suppress(NotFound, InvalidRequest):
        return set(_filter_image_files(illustration.file for _, illustration in read_bundle(folder).illustrations))
    return set()


def _filter_image_files(files: Iterable[str]) -> Iterable[str]:
    return (file for file in files if re.fullmatch(r"images/[\w-][\w.-]*", file))


def _write(path: Path, data: bytes) -> None:
    """Replaces a file as a whole and keeps its permissions; a reader sees the old bytes or the new ones.

    Raises:
        OSError: with the name of the file, which the error of a full disk lacks.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        with suppress(FileNotFoundError):
            beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)
