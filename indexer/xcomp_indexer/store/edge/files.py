"""Copies sparse files with their holes, measures them without holes, and makes files survive a power cut.

The embedded engine preallocates: a repository of one image takes 0.1 MB on disk, and the lengths of its files add up to
130 MB.
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
    """Copy a folder to one that must not exist yet, as fast as the file system can."""
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        into = target / path.relative_to(source)
        if path.is_dir():
            into.mkdir()
        else:
            _copy_file(path, into)


def size_bytes(folder: Path) -> int:
    """Return the space that a folder takes on disk; files that vanish meanwhile count as 0."""
    return sum(
        _allocated_bytes(Path(place, name)) for place, *names in os.walk(folder) for each in names for name in each
    )


def sync(folder: Path) -> None:
    """Make everything below a folder survive a power cut."""
    for path in [folder, *folder.rglob("*"), folder.parent]:
        sync_one(path)


def sync_one(path: Path) -> None:
    """Make a file, or the entries of a folder, survive a power cut."""
    with contextlib.suppress(OSError):  # Windows cannot open a folder; there the rename must be enough
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(folder: Path) -> None:
    """Remove a folder if it exists; what cannot be removed now is left to the next attempt."""
    shutil.rmtree(folder, ignore_errors=True)


def _copy_file(source: Path, target: Path) -> None:
    if not hasattr(os, "SEEK_DATA"):  # Windows has no sparse copies
        shutil.copyfile(source, target)
        return
    with source.open("rb") as read, target.open("wb") as write:
        size = os.fstat(read.fileno()).st_size
        write.truncate(size)
        for start, end in _data_ranges(read.fileno(), size):
            _copy_range(read.fileno(), write.fileno(), start, end)


def _data_ranges(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the parts of a file that are not holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(read: int, write: int, start: int, end: int) -> None:
    while start < end:
        done = _copy_chunk(read, write, start, min(end - start, _CHUNK_BYTES))
        if not done:  # the file was truncated meanwhile
            return
        start += done


def _copy_chunk(read: int, write: int, at: int, count: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(read, write, count, at, at)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
    return os.pwrite(write, os.pread(read, count, at), at)


def _allocated_bytes(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError:  # the engine replaces files while we look
        return 0
    return getattr(status, "st_blocks", -(-status.st_size // 512)) * 512  # Windows has no st_blocks
