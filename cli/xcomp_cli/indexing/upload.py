"""Uploads files of this machine to an indexer elsewhere, without sending known content again.

Every file is hashed here and looked up by its hash; no state is kept on this side. Uploads only add images: a file that
is missing here may still be wanted by other users.
"""

import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from xcomp_cli.output import progress
from xcomp_indexer.ingest.scan import Entry, scan
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.client.channel import CHUNK_BYTES
from xcomp_protos.errors import XcompError

WORKERS = 4  # parallel uploads: some files are hashed while others are sent or embedded
MAX_SIDECAR_BYTES = 256 * 1024  # the indexer refuses larger ones; one byte more is sent, so that it reports this

_TRANSIENT = ("permission", "vanished", "unreadable")  # failures that say nothing about the content of the file


class Report(Protocol):
    """Receives failures of an upload."""

    def __call__(self, failure: pb.IngestFailure, /) -> None:
        """Receives a file that was skipped."""


def upload(
    client: IndexerClient,
    paths: Sequence[str],
    *,
    header: pb.UploadHeader,
    exclude: Sequence[str],
    settled: set[Entry],
    report: Report,
) -> pb.IngestSummary:
    """Uploads folders and single files, without content that the indexer knows.

    Args:
        client: of the indexer.
        paths: absolute, of this machine.
        header: names repository and profile.
        exclude: globs of what to leave out.
        settled: files that need no upload; answered files are added.
        report: is called for each file that is not a readable image.
    """

    begun = time.monotonic()
    found = scan(paths, exclude=exclude)
    for path, error in found.unreadable:
        report(_unreadable_failure(path, error))
    entries = [entry for entry in found.entries if entry not in settled]
    counts: Counter[str] = Counter(failed=len(found.unreadable), unchanged=len(found.entries) - len(entries))
    with progress.show_bar("images") as advance:
        for done, answer in enumerate(_answers(client, entries, header), start=1):
            advance(done, len(entries), what="uploading")
            if answer.failure.reason not in _TRANSIENT:
                settled.add(entries[done - 1])
            counts[_kind(answer)] += 1
            if answer.HasField("failure"):
                report(answer.failure)
    seconds = time.monotonic() - begun
    return pb.IngestSummary(
        repository=header.repository,
        scanned=len(found.entries),
        added=counts["added"],
        updated=counts["updated"],
        unchanged=counts["unchanged"],
        failed=counts["failed"],
        seconds=seconds,
        images_per_second=counts["added"] / max(seconds, 1e-9),
        stages={"upload": seconds},
    )


def _answers(client: IndexerClient, entries: Sequence[Entry], header: pb.UploadHeader) -> Iterator[pb.UploadResponse]:
    """Uploads with several threads and a bounded number of files ahead; yields the answers in order."""
    workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="upload")
    waiting: deque[Future[pb.UploadResponse]] = deque()
    try:
        for entry in entries:
            waiting.append(workers.submit(_send, client, entry, header))
            if len(waiting) == 2 * WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        workers.shutdown(cancel_futures=True)


def _send(client: IndexerClient, entry: Entry, header: pb.UploadHeader) -> pb.UploadResponse:

    try:
        upload_header = _make_header(entry, header)
        answer = client.upload(upload_header)
        if not answer.image_id and not answer.HasField("failure"):
            answer = _send_content(client, entry, upload_header)
    except OSError as error:
        return pb.UploadResponse(failure=_unreadable_failure(entry.path, error))
    if answer.HasField("failure"):
        answer.failure.path = _to_text(entry.path)
    return answer


def _send_content(client: IndexerClient, entry: Entry, header: pb.UploadHeader) -> pb.UploadResponse:

    try:
        return client.upload(header, _chunks(entry.path))
    except XcompError:
        if _make_header(entry, header) == header:  # otherwise the file has changed
            raise
        raise OSError(0, "it changed during the upload; run the command again") from None


def _make_header(entry: Entry, header: pb.UploadHeader) -> pb.UploadHeader:

    size, hashed = 0, hashlib.blake2b(digest_size=16)
    for chunk in _chunks(entry.path):
        size += len(chunk)
        hashed.update(chunk)
    return pb.UploadHeader(
        repository=header.repository,
        profile=header.profile,
        name=_to_text(os.path.relpath(entry.path, entry.root)),
        size_bytes=size,
        content_hash=hashed.hexdigest(),
        sidecar=_sidecar(entry.sidecars[0]) if entry.sidecars else b"",
    )


def _sidecar(path: str) -> bytes:
    with open(path, "rb") as file:  # the path may hold undecodable bytes
        return file.read(MAX_SIDECAR_BYTES + 1)


def _chunks(path: str) -> Iterator[bytes]:

    with open(path, "rb") as file:  # the path may hold undecodable bytes
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _unreadable_failure(path: str, error: OSError) -> pb.IngestFailure:

    kinds = ((PermissionError, "permission"), (FileNotFoundError, "vanished"), (OSError, "unreadable"))
    reason = next(reason for kind, reason in kinds if isinstance(error, kind))
    return pb.IngestFailure(path=_to_text(path), reason=reason, message=f"cannot be read: {error.strerror}")


def _to_text(path: str) -> str:
    """Returns a path as valid UTF-8; other bytes become replacement characters."""
    return os.fsencode(path).decode("utf-8", "replace")


def _kind(answer: pb.UploadResponse) -> str:
    if answer.HasField("failure"):
        return "failed"
    if not answer.known:
        return "added"
    return "updated" if answer.updated else "unchanged"
