"""Writes an article to the place that the user named, and reports the result."""

import os
import shlex
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from xcomp_cli.local_server.clients import PartialResultSaved
from xcomp_cli.local_server.lock import hold_directory
from xcomp_cli.output import console
from xcomp_composer.article import serialize
from xcomp_composer.article.model import Article, Illustration, Unfilled
from xcomp_composer.bundle import writer
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Conflict, Denied, ImageError, InvalidRequest, NotFound, Unavailable

SUFFIX = ".zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can store

Write = Callable[[Article, writer.Fetch], Article]


@dataclass(frozen=True)
class Target:
    """How an article is written, and the file that a person opens afterwards."""

    write: Write
    main_file: Path


def bundle_target(folder: Path, source: Path | None = None) -> Target:
    """Returns a target that writes Markdown, page, review page and JSON into a folder.

    The author's own images are read from `source`.
    """
    return Target(
        lambda article, fetch: writer.write_bundle(article, folder, fetch, source=source), folder / "article.html"
    )


def zip_target(file: Path, source: Path | None = None) -> Target:
    """Returns a target that writes the same files into one zip."""

    def write(article: Article, fetch: writer.Fetch) -> Article:
        with TemporaryDirectory(prefix="xcomp-") as folder:
            written = writer.write_bundle(article, Path(folder), fetch, source=source)
            pack(Path(folder), file)
        return written

    return Target(write, file)


def check_out(out: Path | None) -> None:
    """Raises `InvalidRequest` if a bundle would replace files that were not written by a bundle."""
    if out and (name := _find_foreign_file(out)):
        raise InvalidRequest(
            f"--out {out}: the {name} there does not belong to an article bundle: choose another folder"
        )


def _find_foreign_file(folder: Path) -> str:
    """Returns the name of a file that a bundle would replace but did not write; empty if there is none."""
    if (folder / "article.json").exists():
        return ""
    return next((name for name in ("article.md", "article.html", "review.html") if (folder / name).exists()), "")


def bundle_or_zip(out: Path | None, free: Path, *, is_zip: bool, source: Path | None = None) -> Target:
    """Returns a target in `out`, or in `free` without one; it is a zip if requested or if the name ends in .zip."""
    path = out or free
    if path.suffix.lower() == SUFFIX:
        return _with_rescue(zip_target(path, source), path.with_suffix(""))
    target = zip_target(path.with_name(path.name + SUFFIX), source) if is_zip else bundle_target(path, source)
    return _with_rescue(target, path)


def _with_rescue(target: Target, folder: Path) -> Target:
    """Returns the target, which saves texts and choices in a folder if the indexer stops before all images arrive."""

    def write(article: Article, fetch: writer.Fetch) -> Article:
        try:
            return target.write(article, fetch)
        except Unavailable as error:
            kept = (
                folder.with_name(f"{folder.name}.illustrated") if _find_foreign_file(folder) else folder
            )  # beside the zip
            writer.write_without_images(article, kept)
            way = f"xcomp edit {shlex.quote(str(kept))} --fill"
            raise PartialResultSaved(
                f"{error}; words and choices are in '{kept}', and {way} draws the images"
            ) from None

    return Target(write, target.main_file)


def in_place_target(file: Path, *, assets: Path | None, url_prefix: str | None) -> Target:
    """Returns a target that changes the article's own file in a static site and puts images into the site's folder.

    Raises:
        InvalidRequest: the image folder is not named, or the format of the article allows no marks.
    """
    if file.suffix.lower() == ".mdx":
        raise InvalidRequest(
            "--in-place marks our images with HTML comments, which MDX does not allow: omit --in-place"
        )
    if assets is None:
        raise InvalidRequest("--in-place needs --assets DIR, the folder of the site's images")
    before = file.read_bytes()
    prefix = Path(os.path.relpath(assets, file.parent)).as_posix() if url_prefix is None else url_prefix

    def write(article: Article, fetch: writer.Fetch) -> Article:
        if file.read_bytes() != before:
            raise Conflict(f"'{file}' was changed meanwhile and stays as it is: run the command again")
        assets.mkdir(parents=True, exist_ok=True)
        with hold_directory(assets):  # two articles of a site share the folder and its list of images
            return writer.write_in_place(article, file, assets=assets, url_prefix=prefix, fetch=fetch)

    return Target(write, file)


def image_fetcher(
    client: IndexerClient, repository: str, *, originals: bool = False, allow_restricted: bool = False
) -> writer.Fetch:
    """Returns a function that fetches an image from the indexer; thumbnails are never originals.

    It raises `NotFound` for an image that is missing, has changed, or may no longer be offered.
    """

    def fetch(image_id: str, max_px: int) -> tuple[bytes, str]:
        whole = originals and max_px == writer.PUBLISHED_PX
        request = pb.FetchRequest(
            repository=repository,
            image_id=image_id,
            max_px=max_px,
            originals=whole,
            allow_restricted=allow_restricted,
        )
        try:
            header, data = client.fetch(request)
        except (Conflict, Denied) as error:  # the file changed since the last ingest, or may not be shown
            raise NotFound(str(error)) from None
        except ImageError as error:
            raise NotFound(f"a chosen image {error}: run xcomp index again") from None
        return data, header.suffix

    return fetch


def report(article: Article, target: Target, *, json: bool, strict: bool, images: int = 0) -> int:
    """Prints the result, and warns if it has fewer spots than the `images` requested; returns the exit status."""
    if json:
        console.print_json(serialize.to_json(article))
    else:
        _show(article, target)
    spots = len(article.illustrations) + len(article.unfilled)
    if spots < images:
        console.warn(f"images requested: {images}; spots that the text has for them, after its paragraphs: {spots}")
    if line := writer.find_unread_line(article):
        console.warn(f"the tags are in doubt from line {line} of the page on: nothing after it was changed")
    return console.PARTIAL if strict and (article.unfilled or spots < images) else 0


def least_spots(images: int | None, max_images: int | None) -> int:
    """Returns how many spots are requested at least."""
    return min(bound for bound in (images or 0, max_images) if bound is not None)


def _show(article: Article, target: Target) -> None:
    spots: dict[int, Illustration | Unfilled] = dict(article.illustrations)
    spots.update((spot.segment, spot) for spot in article.unfilled)
    for number in sorted(spots):
        line = f"  after segment {number:<3} {console.printable(_describe_spot(spots[number]))}"
        console.print_result(console.fit(line, console.columns()))
    count = len(article.illustrations)
    empty = f", {len(article.unfilled)} left empty" if article.unfilled else ""
    title = console.strong(console.printable(article.title or "the article"))
    console.print_result(f"{title}: {console.format_count(count, 'image')}{empty}")
    if article.shots:
        console.print_result("images to find or take:")
    for shot in article.shots:
        line = f"  for segment {shot.segment:<3} {console.printable(shot.query)}"
        console.print_result(console.fit(line, console.columns()))
    if article.draft:
        console.warn("a small language model wrote this draft: it may contain false statements, check every one")
    console.print_result(console.printable(str(target.main_file)))


def _describe_spot(spot: Illustration | Unfilled) -> str:
    if isinstance(spot, Unfilled):
        return f"left empty: {spot.reason}"
    about = spot.caption or spot.alt or "no caption known"
    return f"{PurePath(spot.path).name}  {about}{' (locked)' if spot.locked else ''}"


def pack(folder: Path, target: Path) -> None:
    """Writes all files below a folder into a zip, under one folder with the name of the zip."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                name = Path(target.stem, file.relative_to(folder)).as_posix()
                entry = zipfile.ZipInfo(name, date_time=_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, file.read_bytes())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
