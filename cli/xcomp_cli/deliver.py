"""Brings an article to where the user wants it, and says what came of it."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from xcomp_cli import display
from xcomp_cli.connect import Rescued
from xcomp_cli.lock import directory_held
from xcomp_cli.pack import SUFFIX, pack
from xcomp_composer import manifest, render
from xcomp_composer.article import Article, Illustration, Unfilled
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.transport.errors import Conflict, Denied, ImageError, InvalidRequest, NotFound, Unavailable

PARTIAL = 3

Write = Callable[[Article, render.Fetch], Article]


@dataclass(frozen=True)
class Target:
    """Where an article goes, and the file to open there."""

    write: Write
    shown: Path


def bundle(folder: Path, source: Path | None = None) -> Target:
    """A folder with the article as Markdown, page, review page and JSON; from `source` the author's own pictures."""
    return Target(
        lambda article, fetch: render.write_bundle(article, folder, fetch, source=source), folder / "article.html"
    )


def packed(file: Path, source: Path | None = None) -> Target:
    """The same in one zip."""

    def write(article: Article, fetch: render.Fetch) -> Article:
        with TemporaryDirectory(prefix="xcomp-") as folder:
            written = render.write_bundle(article, Path(folder), fetch, source=source)
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

    def write(article: Article, fetch: render.Fetch) -> Article:
        try:
            return target.write(article, fetch)
        except Unavailable as error:
            kept = folder.with_name(f"{folder.name}.illustrated") if _foreign(folder) else folder  # beside the zip
            render.write_words(article, kept)
            way = f"xcomp edit {shlex.quote(str(kept))} --fill"
            raise Rescued(f"{error}; words and choices are in '{kept}', and {way} draws the pictures") from None

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

    def write(article: Article, fetch: render.Fetch) -> Article:
        if file.read_bytes() != before:
            raise Conflict(f"'{file}' was changed meanwhile, and stays as it is: run the command again")
        assets.mkdir(parents=True, exist_ok=True)
        with directory_held(assets):  # two articles of a site share the folder, and its list of pictures
            return render.write_in_place(article, file, assets=assets, url_prefix=way, fetch=fetch)

    return Target(write, file)


def fetcher(
    client: IndexerClient, repository: str, *, originals: bool = False, allow_restricted: bool = False
) -> render.Fetch:
    """Returns what fetches a picture from the indexer; thumbnails are never originals.

    A picture that may not be offered any more is to a bundle what one is that is gone.
    """

    def fetch(image_id: str, max_px: int) -> tuple[bytes, str]:
        whole = originals and max_px == render.PUBLISHED_PX
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
        display.print_json(manifest.to_json(article))
    else:
        _show(article, target)
    spots = len(article.illustrated) + len(article.unfilled)
    if spots < images:
        display.warn(f"pictures asked for: {images}; places that the text has for them, after its paragraphs: {spots}")
    if line := render.doubtful_line(article):
        display.warn(f"the tags are in doubt from line {line} of the page on: nothing behind it was touched")
    return PARTIAL if strict and (article.unfilled or spots < images) else 0


def least(images: int | None, max_images: int | None) -> int:
    """Returns how many places are asked for at least."""
    return min(bound for bound in (images or 0, max_images) if bound is not None)


def _show(article: Article, target: Target) -> None:
    spots: dict[int, Illustration | Unfilled] = dict(article.illustrated)
    spots.update((spot.segment, spot) for spot in article.unfilled)
    for number in sorted(spots):
        line = f"  after segment {number:<3} {display.printable(_words(spots[number]))}"
        display.result(display.fitted(line, display.columns()))
    count = len(article.illustrated)
    empty = f", {len(article.unfilled)} left empty" if article.unfilled else ""
    title = display.strong(display.printable(article.title or "the article"))
    display.result(f"{title}: {display.counted(count, 'picture')}{empty}")
    if article.shots:
        display.result("pictures to find or take:")
    for shot in article.shots:
        line = f"  for segment {shot.segment:<3} {display.printable(shot.query)}"
        display.result(display.fitted(line, display.columns()))
    if article.draft:
        display.warn("a small language model wrote this draft: it may contain false statements, check every one")
    display.result(display.printable(str(target.shown)))


def _words(spot: Illustration | Unfilled) -> str:
    if isinstance(spot, Unfilled):
        return f"left empty: {spot.reason}"
    about = spot.caption or spot.alt or "no caption known"
    return f"{PurePath(spot.path).name}  {about}{' (locked)' if spot.locked else ''}"
