"""An image between file and store: its id, the payload an ingest writes, and the stat it compares.

Ids come from repository and path, so that every server gives the same file the same id.
"""

import os
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

from xcomp_indexer.embed import Label
from xcomp_indexer.load import Loaded
from xcomp_indexer.metadata import Metadata
from xcomp_indexer.reconcile import Known
from xcomp_indexer.store import Found
from xcomp_indexer.store.payload import ImagePayload, true_path

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:xcomp:image")
STAT_FIELDS = ("path", "path_bytes", "size", "mtime_ns", "sidecar_mtime_ns", "content_hash", "spaces", "uploaded")


def image_id(repository: str, path: str) -> str:
    """Returns the id of a file of a repository, a UUID."""
    return str(uuid.uuid5(_NAMESPACE, f"{repository}\0{os.fsencode(path).hex()}"))


def payload(
    item: Loaded, *, size: tuple[int, int], labels: Sequence[Label], spaces: Sequence[str], uploaded: str = ""
) -> ImagePayload:
    """Puts together what the store keeps of a file beside its vectors; `uploaded` is the name an upload gave it."""
    facts = item.facts
    tags = facts.get("tags")
    return ImagePayload(
        path=Path(item.entry.path),
        root=Path(item.entry.root),
        size=item.entry.size,
        mtime_ns=item.entry.mtime_ns,
        sidecar_mtime_ns=item.entry.sidecar_mtime_ns,
        content_hash=item.content_hash,
        width=size[0],
        height=size[1],
        spaces=spaces,
        date=_moment(facts, "date"),
        expires=_moment(facts, "expires"),
        embargo=_moment(facts, "embargo"),
        tags=tags if isinstance(tags, list) else [],
        rights=_text(facts, "license"),
        creator=_text(facts, "creator"),
        restricted=bool(facts.get("internal")),
        metadata=facts,
        labels=labels,
        place=item.place,
        uploaded=uploaded,
    )


def known(point: Found, *, spaces: int) -> Known:
    """Reads back what an ingest compares, from a point with `STAT_FIELDS`."""
    fields = point.payload
    return Known(
        id=point.id,
        path=str(true_path(fields)),
        size=cast("int", fields["size"]),
        mtime_ns=cast("int", fields["mtime_ns"]),
        sidecar_mtime_ns=cast("int", fields["sidecar_mtime_ns"]),
        content_hash=str(fields["content_hash"]),
        complete=len(cast("list[str]", fields["spaces"])) == spaces,
    )


def _moment(facts: Metadata, key: str) -> datetime | None:
    value = facts.get(key)
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _text(facts: Metadata, key: str) -> str | None:
    value = facts.get(key)
    return value if isinstance(value, str) else None
