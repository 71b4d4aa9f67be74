"""Brings an article to where the user wants it, and says what came of it."""

import os
import shlex
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from xcomp_cli.local_server.clients import PartialResultSaved
from xcomp_cli.local_server.lock import directory_held
from xcomp_cli.output import console
from xcomp_composer.article import serialize
from xcomp_composer.article.model import Article, Illustration, Unfilled
from xcomp_composer.bundle import writer
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Conflict, Denied, ImageError, InvalidRequest, NotFound, Unavailable

SUFFIX = ".zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can say

PARTIAL = 3

Write = Callable[[Article, writer.Fetch], Article]


@dataclass(frozen=True)
class Target:
    """Where an article goes, and the file to open there."""

    write: Write
    shown: Path


def bundle(folder: Path, source: Path | None = None) -> Target:
    """A folder with the article as Markdown, page, review page and JSON; from `source` the author's own pictures."""
    return Target(
        lambda article, fetch: writer.write_bundle(article, folder, fetch, source=source), folder / "article.html"
    )


def packed(file: Path, source: Path | None = None) -> Target:
    """The same in one zip."""

    def write(article: Article, fetch: writer.Fetch) -> Article:
        with TemporaryDirectory(prefix="xcomp-") as folder:
            written = writer.write_bundle(article, Path(folder), fetch, source=source)
            pack(Path(folder), file)
        return written

    return Target(write, file)


def check_out(out: Path | None) -> None:
    """Raises `InvalidRequest` where a bundle would replace files of a folder that no bundle has put there."""
    if out and (name := _foreign(out)):
        raise InvalidRequest(f"--out {out}: the {name} there is of no article bundle: choose another folder")


def _foreign(folder: Path) -> str:
    """Names a file that a bundle in a folder would replace and no bundle has put there; empty where there is none."""
    if (folder / "article.json").exists():
        return ""
    return next((name for name in ("article.md", "article.html", "review.html") if (folder / name).exists()), "")


def out_of(out: Path | None, free: Path, *, is_zip: bool, source: Path | None = None) -> Target:
    """A bundle where the user wants it, else in a free place: as a zip where that is asked for, or its name says so."""
    place = out or free
    if place.suffix.lower() == SUFFIX:
        return _rescued(packed(place, source), place.with_suffix(""))
    whole = packed(place.with_name(place.name + SUFFIX), source) if is_zip else bundle(place, source)
    return _rescued(whole, place)


def _rescued(target: Target, folder: Path) -> Target:
    """The same; where the indexer is away when the pictures are fetched, words and choices are kept in a folder."""

    def write(article: Article, fetch: writer.Fetch) -> Article:
        try:
            return target.write(article, fetch)
        except Unavailable as error:
            kept = folder.with_name(f"{folder.name}.illustrated") if _foreign(folder) else folder  # beside the zip
            writer.write_without_images(article, kept)
            way = f"xcomp edit {shlex.quote(str(kept))} --fill"
            raise PartialResultSaved(
                f"{error}; words and choices are in '{kept}', and {way} draws the pictures"
            ) from None

    return Target(write, target.shown)


def in_place(file: Path, *, assets: Path | None, url_prefix: str | None) -> Target:
    """The article's own file in a static site, the pictures in the site's folder for such.

    Raises:
        InvalidRequest: that folder was not named, or the article takes no marks.
    """
    if file.suffix.lower() == ".mdx":
        raise InvalidRequest(
            "--in-place marks our pictures with HTML comments, which MDX does not take: leave --in-place away"
        )
    if assets is None:
        raise InvalidRequest("--in-place needs --assets DIR, the folder of the site's pictures")
    before = file.read_bytes()
    way = Path(os.path.relpath(assets, file.parent)).as_posix() if url_prefix is None else url_prefix

    def write(article: Article, fetch: writer.Fetch) -> Article:
        if file.read_bytes() != before:
            raise Conflict(f"'{file}' was changed meanwhile, and stays as it is: run the command again")
        assets.mkdir(parents=True, exist_ok=True)
        with directory_held(assets):  # two articles of a site share the folder, and its list of pictures
            return writer.write_in_place(article, file, assets=assets, url_prefix=way, fetch=fetch)

    return Target(write, file)


def fetcher(
    client: IndexerClient, repository: str, *, originals: bool = False, allow_restricted: bool = False
) -> writer.Fetch:
    """Returns what fetches a picture from the indexer; thumbnails are never originals.

    A picture that may not be offered any more is to a bundle what one is that is gone.
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
        except (Conflict, Denied) as error:  # the file changed since it was indexed, or may not be shown
            raise NotFound(str(error)) from None
        except ImageError as error:
            raise NotFound(f"a chosen picture {error}: run xcomp index again") from None
        return data, header.suffix

    return fetch


def report(article: Article, target: Target, *, json: bool, strict: bool, images: int = 0) -> int:
    """Prints what was made, and says where it is less than the `images` asked for; returns the exit status."""
    if json:
        console.print_json(serialize.to_json(article))
    else:
        _show(article, target)
    spots = len(article.illustrations) + len(article.unfilled)
    if spots < images:
        console.warn(f"pictures asked for: {images}; places that the text has for them, after its paragraphs: {spots}")
    if line := writer.find_unread_line(article):
        console.warn(f"the tags are in doubt from line {line} of the page on: nothing behind it was touched")
    return PARTIAL if strict and (article.unfilled or spots < images) else 0


def least(images: int | None, max_images: int | None) -> int:
    """Returns how many places are asked for at least."""
    return min(bound for bound in (images or 0, max_images) if bound is not None)


def _show(article: Article, target: Target) -> None:
    spots: dict[int, Illustration | Unfilled] = dict(article.illustrations)
    spots.update((spot.segment, spot) for spot in article.unfilled)
    for number in sorted(spots):
        line = f"  after segment {number:<3} {console.printable(_words(spots[number]))}"
        console.result(console.fitted(line, console.columns()))
    count = len(article.illustrations)
    empty = f", {len(article.unfilled)} left empty" if article.unfilled else ""
    title = console.strong(console.printable(article.title or "the article"))
    console.result(f"{title}: {console.counted(count, 'picture')}{empty}")
    if article.shots:
        console.result("pictures to find or take:")
    for shot in article.shots:
        line = f"  for segment {shot.segment:<3} {console.printable(shot.query)}"
        console.result(console.fitted(line, console.columns()))
    if article.draft:
        console.warn("a small language model wrote this draft: it may contain false statements, check every one")
    console.result(console.printable(str(target.shown)))


def _words(spot: Illustration | Unfilled) -> str:
    if isinstance(spot, Unfilled):
        return f"left empty: {spot.reason}"
    about = spot.caption or spot.alt or "no caption known"
    return f"{PurePath(spot.path).name}  {about}{' (locked)' if spot.locked else ''}"


def pack(folder: Path, target: Path) -> None:
    """Writes all files below a folder into a zip, under one folder named after it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                name = Path(target.stem, file.relative_to(folder)).as_posix()
                entry = zipfile.ZipInfo(name, date_time=_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, file.read_bytes())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
