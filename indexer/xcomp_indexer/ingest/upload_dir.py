"""The folder of uploaded files: `REPOSITORY/ab/HASH/name.jpg`, each with its sidecar, if any, beside it.

A file is put together in a folder of its own and moved into place as a whole, so that what breaks off leaves nothing.
It knows files; it knows no pictures and no store.
"""

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from xcomp_protos.errors import Exhausted, InvalidRequest

FOLDER = ".uploads"  # hidden, so that no scan of a folder above takes uploads for the user's own files
MAX_NAME_BYTES = 200  # file systems stop at 255, and a sidecar has a longer name
_STALE_S = 24 * 3600  # no upload takes so long
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\\ud800-\udfff]")


class UploadDir:
    """The uploads of one server."""

    def __init__(self, folder: Path) -> None:
        """Takes what a killed server left half-done out of `folder`, which need not exist yet."""
        self.folder = folder.resolve()
        self._drafts = self.folder / ".partial"
        for draft in self._drafts.glob("*"):
            if time.time() - draft.stat().st_mtime > _STALE_S:
                shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        """Yields the path of a file to be, alone in a folder; what is not kept by the end is removed.

        Raises:
            Exhausted: there is no room for it.
        """
        try:
            self._drafts.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self._drafts))
            try:
                yield folder / _file_name(name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            raise Exhausted(f"the upload cannot be kept ({error.strerror}): make room on the server") from None

    def keep(self, draft: Path, repository: str, digest: str) -> Path:
        """Moves a draft and what lies beside it to its place; returns the file's path there."""
        place = self.home(repository) / digest[:2] / digest
        shutil.rmtree(place, ignore_errors=True)  # a crash left it there, and no image knows of it
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.parent.rename(place)
        return place / draft.name

    def home(self, repository: str) -> Path:
        """Returns the folder of a repository's uploads."""
        return self.folder / repository

    def remove(self, file: Path, repository: str) -> None:
        """Removes a file that was uploaded into a repository; any other file is left alone."""
        if file.is_relative_to(self.home(repository)):
            shutil.rmtree(file.parent, ignore_errors=True)

    def forget(self, repository: str) -> None:
        """Removes all uploads of a repository."""
        shutil.rmtree(self.home(repository), ignore_errors=True)


def fill(file: Path, chunks: Iterable[bytes], *, size_bytes: int, digest: str) -> None:
    """Writes chunks to a file.

    Raises:
        InvalidRequest: they are not what size and hash promised.
    """
    written, hashed = 0, hashlib.blake2b(digest_size=16)
    with file.open("xb") as target:
        for chunk in chunks:
            written += len(chunk)
            if written > size_bytes:
                break
            hashed.update(chunk)
            target.write(chunk)
    if written != size_bytes:
        raise InvalidRequest(
            f"size_bytes: {size_bytes} were announced, {'more' if written > size_bytes else written} came"
        )
    if hashed.hexdigest() != digest:
        raise InvalidRequest("content_hash: is not that of the bytes that came")


def _file_name(name: str) -> str:
    """Returns the last part of a caller's path as a name that any file system takes."""
    plain = _UNFIT.sub("_", PurePosixPath(name).name)
    while len(plain.encode()) > MAX_NAME_BYTES:
        plain = plain[1:]  # the ending stays
    return plain if plain.strip(". ") else "image"
