"""Finds the files of a library: walks folders, leaves out what is not the user's, and stats each candidate once.

It goes by names and stats alone and opens no file.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"]
)  # fmt: skip
FOREIGN_FOLDERS = frozenset(("@eadir", "node_modules", "__pycache__", "#recycle", "$recycle.bin", "lost+found"))


@dataclass(frozen=True)
class Entry:
    """A file that looks like an image."""

    path: str  # absolute; undecodable bytes as surrogates, as the os module gives them
    root: str  # the given path it was found under
    size: int  # bytes
    mtime_ns: int
    sidecar_mtime_ns: int = 0  # of `PATH.json`; 0 where there is none


@dataclass
class Scan:
    """What one walk found, and where it could not look."""

    entries: list[Entry] = field(default_factory=list)
    unreadable: list[tuple[str, OSError]] = field(default_factory=list)  # folders and files that could not be read


def scan(paths: Sequence[str], *, exclude: Sequence[str] = (), within: Sequence[Path] = ()) -> Scan:
    """Walks folders in the order of names; a file given by name is taken whatever its suffix.

    Hidden files and folders, folders of other programs and what `exclude` names are left out. Links are followed, each
    folder once, so that a loop ends; with `within`, only to places under one of these resolved folders. A path under
    two of the given ones is found once.

    Raises:
        OSError: one of `paths` does not exist or cannot be looked at.
    """
    found = Scan()
    for found in walk(paths, exclude=exclude, within=within):  # noqa: B007  # the last one is the whole
        pass
    return found


def walk(paths: Sequence[str], *, exclude: Sequence[str] = (), within: Sequence[Path] = ()) -> Iterator[Scan]:
    """Does the same step by step: yields the growing result after each folder and each file given by name."""
    under_way = _Walk(exclude, within)
    for path in paths:
        yield from under_way.add(os.path.abspath(path))  # noqa: PTH100  # Path.absolute() keeps '..', resolve() follows


class _Walk:
    """One scan under way: what it found, and what it has seen already."""

    def __init__(self, exclude: Sequence[str], within: Sequence[Path]) -> None:
        self._found = Scan()
        self._exclude = exclude
        self._within = within
        self._folders: set[tuple[int, int]] = set()
        self._files: set[str] = set()

    def add(self, root: str) -> Iterator[Scan]:
        """Takes in a file, or everything below a folder."""
        status = Path(root).stat()
        pending = [root] if stat.S_ISDIR(status.st_mode) else []
        if not pending:
            self._take(root, str(Path(root).parent), status, self._sidecar_mtime_ns(f"{root}.json"))
        while pending:
            items = self._listed(pending.pop())
            sidecars = {item.path: item for item in items if item.name.endswith(".json")}
            folders = [folder for item in items for folder in self._visit(item, root, sidecars)]
            pending.extend(item.path for item in reversed(folders) if not item.is_symlink())
            pending[:0] = [item.path for item in reversed(folders) if item.is_symlink()]  # last, so that real names win
            yield self._found
        yield self._found

    def _visit(
        self, item: "os.DirEntry[str]", root: str, sidecars: Mapping[str, "os.DirEntry[str]"]
    ) -> Iterator["os.DirEntry[str]"]:
        """Takes a file in; yields a folder that is to be walked."""
        if item.name.startswith(".") or _excluded(os.path.relpath(item.path, root), self._exclude):
            return
        try:
            if item.is_dir():
                if item.name.lower() not in FOREIGN_FOLDERS:
                    self._check_inside(item.path, link=item.is_symlink())
                    yield item
            elif Path(item.name).suffix.lower() in SUFFIXES:
                self._check_inside(item.path, link=item.is_symlink())
                beside = f"{item.path}.json"
                sidecar = self._sidecar_mtime_ns(beside) if beside in sidecars else 0
                self._take(item.path, root, item.stat(), sidecar)
        except OSError as error:  # a link to nowhere or to a forbidden place, a file that went away
            self._found.unreadable.append((item.path, error))

    def _check_inside(self, path: str, *, link: bool) -> None:
        """Raises `PermissionError` where a link leads out of the folders that may be read."""
        if not link or not self._within:
            return
        resolved = Path(os.path.realpath(path))
        if not any(resolved.is_relative_to(folder) for folder in self._within):
            raise PermissionError(errno.EACCES, "leads out of the folders that may be read", path)

    def _sidecar_mtime_ns(self, path: str) -> int:
        """Returns the time of a sidecar's last change; what is no file that may be read counts as none."""
        try:
            self._check_inside(path, link=os.path.islink(path))  # noqa: PTH114  # may hold undecodable bytes
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            return 0
        return max(1, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else 0

    def _take(self, path: str, root: str, status: os.stat_result, sidecar_mtime_ns: int) -> None:
        if path not in self._files and stat.S_ISREG(status.st_mode):
            self._files.add(path)
            self._found.entries.append(Entry(path, root, status.st_size, status.st_mtime_ns, sidecar_mtime_ns))

    def _listed(self, folder: str) -> list["os.DirEntry[str]"]:
        """Lists a folder by name; a folder seen before, under whatever name, is empty."""
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in self._folders:
                return []
            self._folders.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as items:
                return sorted(items, key=lambda item: item.name)
        except OSError as error:
            self._found.unreadable.append((folder, error))
            return []


def _excluded(relative: str, exclude: Sequence[str]) -> bool:
    name = os.path.basename(relative)  # noqa: PTH119  # a hot path, and strings are what scandir gives
    return any(fnmatch(relative, pattern) or fnmatch(name, pattern.rstrip("/")) for pattern in exclude)
