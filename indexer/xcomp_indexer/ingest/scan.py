"""Finds image files: walks folders, skips folders of other programs, and stats each candidate once.

It uses names and stats only and opens no files. Results come in pieces, so that memory does not grow with the number of
files.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from xcomp_indexer.ingest.sidecar_names import SidecarNames, list_sidecars

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"]
)  # fmt: skip
FOREIGN_FOLDERS = frozenset(("@eadir", "node_modules", "__pycache__", "#recycle", "$recycle.bin", "lost+found"))


_PIECE = 2048  # entries


class Entry(NamedTuple):
    """A file that looks like an image."""

    path: str  # absolute; undecodable bytes as surrogates, as in the os module
    root: str  # the given path above it
    size: int  # bytes
    mtime_ns: int
    sidecar_mtime_ns: int = 0  # of its sidecar, of several a sum; 0 if there is none
    sidecars: tuple[str, ...] = ()  # paths of its sidecars that may be read; the first wins


@dataclass
class Scan:
    """The files of a walk, or of a piece of it, and what could not be read."""

    entries: list[Entry] = field(default_factory=list)
    unreadable: list[tuple[str, OSError]] = field(default_factory=list)  # folders and files that could not be read


@dataclass
class _Listing:
    """The relevant names in a folder."""

    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: set[str] = field(default_factory=set)  # images and folders that are links
    sidecars: SidecarNames = field(default_factory=SidecarNames)


def scan(paths: Sequence[str], *, exclude: Sequence[str] = (), within: Sequence[Path] = ()) -> Scan:
    """Walks folders in the order of names; a file given by name may have any suffix.

    Hidden files and folders, folders of other programs and matches of `exclude` are skipped. Links are followed, each
    folder once, so that a loop ends; with `within`, only links into these resolved folders. A file under two of the
    given paths is found once.

    Raises:
        OSError: one of `paths` does not exist or cannot be read.
    """
    found = Scan()
    for piece in walk(paths, exclude=exclude, within=within):
        found.entries += piece.entries
        found.unreadable += piece.unreadable
    return found


def walk(paths: Sequence[str], *, exclude: Sequence[str] = (), within: Sequence[Path] = ()) -> Iterator[Scan]:
    """Yields the same in pieces: one for each folder, several for a large one, one for each file given by name."""
    roots = [os.path.abspath(path) for path in paths]  # noqa: PTH100  # Path.absolute() keeps '..', resolve() follows
    walker = _Walk(exclude, within, roots)
    for root in roots:
        yield from walker.add(root)


class _Walk:
    """The state of one walk: the folders and files that it has seen."""

    def __init__(self, exclude: Sequence[str], within: Sequence[Path], roots: Sequence[str]) -> None:
        self._exclude = exclude
        self._within = within
        self._folders: set[tuple[int, int]] = set()
        self._named = dict.fromkeys(roots, False)  # given path: whether it was found as a file

    def add(self, root: str) -> Iterator[Scan]:
        """Yields a file, or everything below a folder."""
        status = os.stat(root)  # noqa: PTH116  # a path may have undecodable bytes
        pending = [root] if stat.S_ISDIR(status.st_mode) else []
        if not (pending or stat.S_ISREG(status.st_mode)):
            yield Scan([], [(root, OSError(errno.EINVAL, "neither a file nor a folder", root))])
        elif not pending:
            folder, name = os.path.split(root)
            yield Scan([*self._entry(root, folder, list_sidecars(folder, name))])
        while pending:
            folder = pending.pop()
            found = Scan()
            listing = self._list(folder, root, found)
            below = [os.path.join(folder, name) for name in reversed(listing.folders)]  # noqa: PTH118
            pending.extend(path for path in below if path not in listing.links)
            pending[:0] = [path for path in below if path in listing.links]  # last, so that real names come first
            yield from self._pieces(folder, root, listing, found)

    def _pieces(self, folder: str, root: str, listing: _Listing, found: Scan) -> Iterator[Scan]:
        """Stats the images of a folder."""
        for name in listing.images:
            path = os.path.join(folder, name)  # noqa: PTH118  # scandir yields strings, and this code is hot
            try:
                self._check_inside(path, link=path in listing.links)
                found.entries.extend(self._entry(path, root, listing.sidecars.find(folder, name)))
            except OSError as error:  # a broken or forbidden link, or a file that was removed
                found.unreadable.append((path, error))
            if len(found.entries) == _PIECE:
                yield found
                found = Scan()
        yield found

    def _list(self, folder: str, root: str, found: Scan) -> _Listing:
        """Lists a folder by name; the list is empty if the folder was visited before, under any name."""
        listing = _Listing()
        try:
            status = os.stat(folder)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in self._folders:
                return listing
            self._folders.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as items:
                for item in items:
                    self._add_item(item, root, listing, found)
        except OSError as error:
            found.unreadable.append((folder, error))
        listing.images.sort()
        listing.folders.sort()
        return listing

    def _add_item(self, item: "os.DirEntry[str]", root: str, listing: _Listing, found: Scan) -> None:
        name = item.name
        listing.sidecars.add(name)
        if name.startswith(".") or (self._exclude and _is_excluded(os.path.relpath(item.path, root), self._exclude)):
            return
        try:
            if item.is_dir():
                if name.lower() in FOREIGN_FOLDERS:
                    return
                self._check_inside(item.path, link=item.is_symlink())
                listing.folders.append(name)
            elif name[name.rfind(".") :].lower() in SUFFIXES:
                listing.images.append(name)
            if item.is_symlink():
                listing.links.add(item.path)
        except OSError as error:
            found.unreadable.append((item.path, error))

    def _entry(self, path: str, root: str, sidecars: Sequence[str]) -> Iterator[Entry]:
        """Stats a file; yields nothing if it is not a file or was found before."""
        if path in self._named:
            if self._named[path]:
                return
            self._named[path] = True
        status = os.stat(path)  # noqa: PTH116
        if stat.S_ISREG(status.st_mode):
            times = {sidecar: self._sidecar_mtime_ns(sidecar) for sidecar in sidecars}
            read = tuple(sidecar for sidecar, mtime_ns in times.items() if mtime_ns)
            yield Entry(path, root, status.st_size, status.st_mtime_ns, sum(times.values()) % 2**62, read)

    def _check_inside(self, path: str, *, link: bool) -> None:
        """Raises `PermissionError` if a link leads out of the folders that may be read."""
        if not link or not self._within:
            return
        resolved = Path(os.path.realpath(path))
        if not any(resolved.is_relative_to(folder) for folder in self._within):
            raise PermissionError(errno.EACCES, "leads out of the folders that may be read", path)

    def _sidecar_mtime_ns(self, path: str) -> int:
        """Returns when a sidecar was changed; 0 if it is not a file that may be read."""
        try:
            self._check_inside(path, link=os.path.islink(path))  # noqa: PTH114  # may have undecodable bytes
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            return 0
        return max(1, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else 0


def _is_excluded(relative: str, exclude: Sequence[str]) -> bool:
    name = os.path.basename(relative)  # noqa: PTH119
    if any(relative == pattern.rstrip("/") or name == pattern.rstrip("/") for pattern in exclude):
        return True  # its name as it is, brackets and all
    return any(fnmatch(relative, pattern) or fnmatch(name, pattern.rstrip("/")) for pattern in exclude)
