"""Fetches files from ModelScope into a cache that is laid out as the hub's own.

`blobs/` holds contents named by their sha256, `snapshots/COMMIT/` links to them, `refs/` says where a branch stood. So
loading and verifying need not know where a file came from. Nothing gets a name there before its digest is the one that
the service lists. Knows public repositories only: no token is read or sent.
"""

import hashlib
import http.client
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from xcomp_indexer.embed.weights.cache import MODELSCOPE_BRANCH, ModelSource
from xcomp_protos.errors import InvalidRequest, ModelError

ENDPOINT = "https://www.modelscope.cn"

_TIMEOUT_S = 60  # without a byte
_PIECE_BYTES = 1 << 20
_LISTING_BYTES = 16 << 20  # far above any listing
_SHA256, _COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Listing:
    """What a repository holds at a revision: the newest commit of its files, and their digests by name."""

    commit: str
    digests: dict[str, str]


class ModelScope:
    """The service at one address; remembers what it listed."""

    def __init__(self, endpoint: str = ENDPOINT) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._listings: dict[tuple[str, str], Listing] = {}
        if not self._endpoint.startswith(("https://", "http://")):
            raise InvalidRequest(f"MODELSCOPE_ENDPOINT {endpoint!r} is no address: write it as {ENDPOINT}")

    def fetch(self, place: ModelSource, name: str) -> bool:
        """Brings a file into the cache, unless it is there whole; false if the repository has none of this name.

        Raises:
            ModelError: the service cannot be reached, has no such repository, or sent something else than it lists.
        """
        listing = self._listing(place)
        digest = listing.digests.get(name)
        if digest is None:
            return False
        if not _SHA256.fullmatch(digest):
            raise self._strange(place)
        try:
            blob = place.home / "blobs" / digest
            blob.parent.mkdir(parents=True, exist_ok=True)
            if not _is_whole(blob):
                self._download(place, name, blob)
            _enter(place, listing.commit, name=name, blob=blob)
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(place, name, error) from error
        return True

    def _listing(self, place: ModelSource) -> Listing:
        key = (place.repository, place.revision or MODELSCOPE_BRANCH)
        if key not in self._listings:
            self._listings[key] = self._listed(place)
        return self._listings[key]

    def _listed(self, place: ModelSource) -> Listing:
        # `get_model_files` of modelscope/hub/api.py
        query = urlencode({"Revision": place.revision or MODELSCOPE_BRANCH, "Recursive": "true"})
        try:
            with self._open(f"/api/v1/models/{place.repository}/repo/files?{query}") as stream:
                answer = json.loads(stream.read(_LISTING_BYTES))
            files = [file for file in answer["Data"]["Files"] if file["Type"] == "blob"]
            newest = max(files, key=lambda file: file.get("CommittedDate") or 0)
            listing = Listing(str(newest["Revision"]), {str(file["Path"]): str(file.get("Sha256")) for file in files})
        except HTTPError as error:
            if error.code not in (401, 403, 404):
                raise self._failure(place, "the list of files", error) from error
            revision = f" at {place.revision}" if place.revision else ""
            raise ModelError(
                f"{self._endpoint} has no {place.repository}{revision} to read: check its name; it has to be public"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(place, "the list of files", error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._strange(place) from error
        if not _COMMIT.fullmatch(listing.commit):
            raise self._strange(place)
        return listing

    def _download(self, place: ModelSource, name: str, blob: Path) -> None:
        """Writes the file beside its place and moves it there once its digest is right."""
        address = f"/models/{place.repository}/resolve/{place.revision or MODELSCOPE_BRANCH}/{quote(name)}"
        with tempfile.NamedTemporaryFile(dir=blob.parent, suffix=".part", delete=False) as part:
            try:
                with self._open(address) as stream:
                    sha256 = _copied(stream, part)
                if sha256 != blob.name:
                    raise ModelError(
                        f"{self._endpoint} sent {name} of {place.repository} with sha256 {sha256[:12]} where it lists"
                        f" {blob.name[:12]}: nothing was kept; pull it again, and if that changes nothing, from the hub"
                    )
                Path(part.name).chmod(0o644)  # as any other file of the cache, which services may share
                Path(part.name).replace(blob)
            finally:
                Path(part.name).unlink(missing_ok=True)

    def _open(self, address: str) -> http.client.HTTPResponse:
        request = Request(f"{self._endpoint}{address}", headers={"User-Agent": "xcomp"})  # noqa: S310  # see __init__
        response: http.client.HTTPResponse = urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
        return response

    def _failure(self, place: ModelSource, what: str, error: Exception) -> ModelError:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return ModelError(
            f"cannot fetch {what} of {place.repository} from {self._endpoint}: {reason};"
            f" MODELSCOPE_ENDPOINT names another address, HF_HOME a folder with what was fetched elsewhere"
        )

    def _strange(self, place: ModelSource) -> ModelError:
        return ModelError(
            f"{self._endpoint} lists no files with commits and sha256 for {place.repository}: check its name and"
            f" MODELSCOPE_ENDPOINT, or fetch the model from the hub"
        )


def _copied(stream: IO[bytes] | http.client.HTTPResponse, target: IO[bytes]) -> str:
    """Copies to the end; returns the sha256."""
    digest = hashlib.sha256()
    while piece := stream.read(_PIECE_BYTES):
        digest.update(piece)
        target.write(piece)
    target.flush()
    return digest.hexdigest()


def _is_whole(blob: Path) -> bool:
    if not blob.is_file():
        return False
    with blob.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == blob.name


def _enter(place: ModelSource, commit: str, *, name: str, blob: Path) -> None:
    """Gives a file its name in the snapshot, and the revision its commit."""
    link = place.home / "snapshots" / commit / name
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.resolve() != blob.resolve() or not link.is_symlink():
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    revision = place.revision or MODELSCOPE_BRANCH
    if revision != commit:
        ref = place.home / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit, encoding="utf-8")
