"""Files with holes: copied with their holes, measured without them, and made to survive a power cut.

The embedded engine preallocates: a repository of one picture is 0.1 MB on disk and 130 MB by the lengths of its files.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_CHUNK_BYTES = 16 * 2**20
_NOT_HERE = frozenset((errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.EPERM))


def copy(source: Path, target: Path) -> None:
    """Copies a folder, which must not exist yet; as quick as the file system can, and without the interpreter."""
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        into = target / path.relative_to(source)
        if path.is_dir():
            into.mkdir()
        else:
            _copy_file(path, into)


def size_bytes(folder: Path) -> int:
    """Returns the space that a folder takes on disk; what goes away meanwhile takes none."""
    return sum(_allocated(Path(place, name)) for place, *names in os.walk(folder) for each in names for name in each)


def sync(folder: Path) -> None:
    """Makes everything below a folder survive a power cut."""
    for path in [folder, *folder.rglob("*"), folder.parent]:
        sync_one(path)


def sync_one(path: Path) -> None:
    """Makes a file, or the list of what a folder holds, survive a power cut."""
    with contextlib.suppress(OSError):  # Windows cannot open a folder; there the rename alone has to do
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(folder: Path) -> None:
    """Removes a folder, if it is there; what cannot be removed now is left to the next try."""
    shutil.rmtree(folder, ignore_errors=True)


def _copy_file(source: Path, target: Path) -> None:
    if not hasattr(os, "SEEK_DATA"):  # Windows, which has none of what follows
        shutil.copyfile(source, target)
        return
    with source.open("rb") as read, target.open("wb") as write:
        size = os.fstat(read.fileno()).st_size
        write.truncate(size)
        for start, end in _filled(read.fileno(), size):
            _copy_range(read.fileno(), write.fileno(), start, end)


def _filled(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Yields the parts of a file that are no holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(read: int, write: int, start: int, end: int) -> None:
    while start < end:
        done = _copied(read, write, start, min(end - start, _CHUNK_BYTES))
        if not done:  # the file was cut meanwhile
            return
        start += done


def _copied(read: int, write: int, at: int, count: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(read, write, count, at, at)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
    return os.pwrite(write, os.pread(read, count, at), at)


def _allocated(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError:  # the engine replaces files while we look
        return 0
    return getattr(status, "st_blocks", -(-status.st_size // 512)) * 512  # Windows has no st_blocks
