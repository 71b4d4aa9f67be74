"""Converts a loaded image to what the store keeps: its id and its payload.

Ids are computed from repository and path, so that every server gives the same file the same id.
"""

import hashlib
import os
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from xcomp_indexer.embed.base import ClassLabel
from xcomp_indexer.images import dates
from xcomp_indexer.images.metadata import Metadata
from xcomp_indexer.ingest.loader import LoadedImage
from xcomp_indexer.repository.image_record import ImagePayload

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:xcomp:image")


def image_id(repository: str, path: str) -> str:
    """Returns the id of a file of a repository, a UUID."""
    return str(uuid.UUID(bytes=id_bytes(repository, [path])))


def id_bytes(repository: str, paths: Iterable[str]) -> bytes:
    """Returns the ids of many files, 16 bytes each; faster than one `uuid.uuid5` for each."""
    prefix = hashlib.sha1(_NAMESPACE.bytes + f"{repository}\0".encode(), usedforsecurity=False)
    digests = bytearray()
    for path in paths:
        digest = prefix.copy()
        digest.update(os.fsencode(path).hex().encode())
        digests += digest.digest()[:16]
    rows = np.frombuffer(digests, np.uint8).reshape(-1, 16)  # RFC 9562, 5.5: version and variant
    rows[:, 6] = rows[:, 6] & 0x0F | 0x50
    rows[:, 8] = rows[:, 8] & 0x3F | 0x80
    return bytes(digests)


def build_payload(
    item: LoadedImage, *, size: tuple[int, int], labels: Sequence[ClassLabel], uploaded: str = ""
) -> ImagePayload:
    """Builds the payload of an image; `uploaded` is the name that an upload gave it."""
    facts = item.facts
    tags = facts.get("tags")
    date, date_last = _parse_span(facts)
    return ImagePayload(
        path=Path(item.entry.path),
        root=Path(item.entry.root),
        size=item.entry.size,
        mtime_ns=item.entry.mtime_ns,
        sidecar_mtime_ns=item.entry.sidecar_mtime_ns,
        content_hash=item.content_hash,
        width=size[0],
        height=size[1],
        date=date,
        date_last=date_last,
        expires=_parse_date(facts, "expires"),
        embargo=_parse_date(facts, "embargo"),
        tags=tags if isinstance(tags, list) else [],
        rights=_get_text(facts, "license"),
        creator=_get_text(facts, "creator"),
        restricted=bool(facts.get("internal")),
        metadata=facts,
        labels=labels,
        place=item.location,
        uploaded=uploaded,
    )


def _parse_date(facts: Metadata, key: str) -> datetime | None:
    value = facts.get(key)
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _parse_span(facts: Metadata) -> tuple[datetime | None, datetime | None]:
    value = facts.get("date")
    return dates.parse_span(value) if isinstance(value, str) else (None, None)


def _get_text(facts: Metadata, key: str) -> str | None:
    value = facts.get(key)
    return value if isinstance(value, str) else None
