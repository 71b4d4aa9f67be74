"""Finds the files of a library: walks folders, leaves out what is not the user's, and stats each candidate once.

It goes by names and stats alone and opens no file.
"""

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


def scan(paths: Sequence[str], *, exclude: Sequence[str] = ()) -> Scan:
    """Walks folders in the order of names; a file given by name is taken whatever its suffix.

    Hidden files and folders, folders of other programs and what `exclude` names are left out. Links are followed, each
    folder once, so that a loop ends. A path under two of the given ones is found once.

    Raises:
        FileNotFoundError: one of `paths` does not exist.
    """
    walk = _Walk(exclude)
    for path in paths:
        walk.add(os.path.abspath(path))  # noqa: PTH100  # Path.absolute() keeps '..', resolve() follows links
    return walk.found


class _Walk:
    """One scan under way: what it found, and what it has seen already."""

    def __init__(self, exclude: Sequence[str]) -> None:
        self.found = Scan()
        self._exclude = exclude
        self._folders: set[tuple[int, int]] = set()
        self._files: set[str] = set()

    def add(self, root: str) -> None:
        """Takes in a file, or everything below a folder."""
        status = Path(root).stat()
        if not stat.S_ISDIR(status.st_mode):
            sidecar = Path(f"{root}.json")
            self._take(root, str(Path(root).parent), status, sidecar.stat().st_mtime_ns if sidecar.exists() else 0)
            return
        pending = [root]
        while pending:
            items = self._listed(pending.pop())
            sidecars = {item.path: item for item in items if item.name.endswith(".json")}
            subfolders = [path for item in items for path in self._visit(item, root, sidecars)]
            pending.extend(reversed(subfolders))

    def _visit(self, item: "os.DirEntry[str]", root: str, sidecars: Mapping[str, "os.DirEntry[str]"]) -> Iterator[str]:
        """Takes a file in; yields a folder that is to be walked."""
        if item.name.startswith(".") or _excluded(os.path.relpath(item.path, root), self._exclude):
            return
        try:
            if item.is_dir():
                if item.name.lower() not in FOREIGN_FOLDERS:
                    yield item.path
            elif Path(item.name).suffix.lower() in SUFFIXES:
                sidecar = sidecars.get(f"{item.path}.json")
                self._take(item.path, root, item.stat(), sidecar.stat().st_mtime_ns if sidecar else 0)
        except OSError as error:  # a link to nowhere, a file that went away
            self.found.unreadable.append((item.path, error))

    def _take(self, path: str, root: str, status: os.stat_result, sidecar_mtime_ns: int) -> None:
        if path not in self._files and stat.S_ISREG(status.st_mode):
            self._files.add(path)
            self.found.entries.append(Entry(path, root, status.st_size, status.st_mtime_ns, sidecar_mtime_ns))

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
            self.found.unreadable.append((folder, error))
            return []


def _excluded(relative: str, exclude: Sequence[str]) -> bool:
    name = os.path.basename(relative)  # noqa: PTH119  # a hot path, and strings are what scandir gives
    return any(fnmatch(relative, pattern) or fnmatch(name, pattern.rstrip("/")) for pattern in exclude)
