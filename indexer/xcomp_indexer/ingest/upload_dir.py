"""The folder of uploaded files: `REPOSITORY/ab/HASH/name.jpg`, with the sidecar beside it.

A file is written in a folder of its own that is then moved into place, so that a broken upload leaves nothing. Does not
depend on images or the store.
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

FOLDER = ".uploads"  # hidden, so that a scan of a parent folder skips it
MAX_NAME_BYTES = 200  # file systems allow 255, and a sidecar has a longer name
_STALE_S = 24 * 3600  # longer than any upload
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\\ud800-\udfff]")


class UploadDir:
    """The uploads of one server."""

    def __init__(self, folder: Path) -> None:
        """Removes drafts of a killed server from `folder`, which need not exist yet."""
        self.folder = folder.resolve()
        self._drafts = self.folder / ".partial"
        for draft in self._drafts.glob("*"):
            if time.time() - draft.stat().st_mtime > _STALE_S:
                shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def create_draft(self, name: str) -> Iterator[Path]:
        """Yields the path of a new file, alone in a folder, which is removed at the end unless it was kept.

        Raises:
            Exhausted: there is no disk space for it.
        """
        try:
            self._drafts.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self._drafts))
            try:
                yield folder / _to_file_name(name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            raise Exhausted(f"the upload cannot be kept ({error.strerror}): free disk space on the server") from None

    def keep(self, draft: Path, repository: str, digest: str) -> Path:
        """Moves a draft and its sidecar to their final folder; returns the new path of the file."""
        target = self.home(repository) / digest[:2] / digest
        shutil.rmtree(target, ignore_errors=True)  # left by a crash; no image refers to it
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.parent.rename(target)
        return target / draft.name

    def home(self, repository: str) -> Path:
        """Returns the folder of a repository's uploads."""
        return self.folder / repository

    def remove(self, file: Path, repository: str) -> None:
        """Removes a file that was uploaded to a repository; ignores any other file."""
        if file.is_relative_to(self.home(repository)):
            shutil.rmtree(file.parent, ignore_errors=True)

    def remove_all(self, repository: str) -> None:
        """Removes all uploads of a repository."""
        shutil.rmtree(self.home(repository), ignore_errors=True)


def write_chunks(file: Path, chunks: Iterable[bytes], *, size_bytes: int, digest: str) -> None:
    """Writes chunks to a file.

    Raises:
        InvalidRequest: size or hash of the chunks differ.
    """
    written, digester = 0, hashlib.blake2b(digest_size=16)
    with file.open("xb") as target:
        for chunk in chunks:
            written += len(chunk)
            if written > size_bytes:
                break
            digester.update(chunk)
            target.write(chunk)
    if written != size_bytes:
        raise InvalidRequest(
            f"size_bytes: {size_bytes} were announced, {'more' if written > size_bytes else written} came"
        )
    if digester.hexdigest() != digest:
        raise InvalidRequest("content_hash: is not that of the received bytes")


def _to_file_name(name: str) -> str:
    """Returns the last part of a path of the caller as a name that every file system accepts."""
    plain = _FORBIDDEN.sub("_", PurePosixPath(name).name)
    while len(plain.encode()) > MAX_NAME_BYTES:
        plain = plain[1:]  # keeps the suffix
    return plain if plain.strip(". ") else "image"
