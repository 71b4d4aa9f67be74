"""Checks which paths a server may read: below its allowed roots, links resolved, and its own uploads.

A file is returned only if it may be read and its content is what was indexed.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from xcomp_indexer.images import decode
from xcomp_indexer.repository.image_record import ImagePayload
from xcomp_protos.errors import Conflict, Denied, ImageError, InvalidRequest, NotFound


class FileAccess:
    """The folders of one server."""

    def __init__(self, roots: Sequence[Path], uploads: Path) -> None:
        self.roots = [root.resolve() for root in roots]
        self._uploads = uploads.resolve()

    def check_indexable(self, path: str) -> None:
        """Raise `Denied` unless a path may be indexed: it lies below a root and is not an upload."""
        resolved = _resolve(path)
        if resolved.is_relative_to(self._uploads):
            raise Denied(f"{path} holds uploads, which are in their repositories already: name another folder")
        self._check(path, resolved, self.roots)

    def check_readable(self, path: str) -> None:
        """Raise `Denied` unless the bytes of an image may be returned."""
        self._check(path, _resolve(path), [*self.roots, self._uploads])

    def content_of(self, image: ImagePayload) -> bytes:
        """Read the file of an image.

        Raises:
            Denied: it may not be read.
            NotFound: it does not exist or cannot be read.
            Conflict: it has changed since it was indexed.
        """
        self.check_readable(str(image.path))
        try:
            file = decode.read(str(image.path))
        except ImageError as error:
            raise NotFound(f"{image.path.name}: {error}: run xcomp index again") from None
        if decode.content_hash(file) != image.content_hash:
            raise Conflict(f"{image.path.name} has changed since it was indexed: run xcomp index again")
        return file

    def _check(self, path: str, resolved: Path, folders: Sequence[Path]) -> None:
        if not any(resolved.is_relative_to(folder) for folder in folders):
            raise Denied(f"{path} is outside the folders this server may read: start it with --allow-root")


def _resolve(path: str) -> Path:
    if not os.path.isabs(path) or "\0" in path:  # noqa: PTH117  # paths may hold undecodable bytes
        raise InvalidRequest(f"paths: {path!r} is not absolute")
    return Path(os.path.realpath(os.path.abspath(path)))  # noqa: PTH100  # without '..', as the scan walks it
