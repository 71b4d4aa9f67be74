"""An image as the store keeps it: from a file to a point, and from a point back to what the service tells.

Ids come from repository and path, so that every server gives the same file the same id.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from xcomp_indexer.embed import Label
from xcomp_indexer.metadata import Metadata
from xcomp_indexer.reconcile import Known
from xcomp_indexer.scan import Entry
from xcomp_indexer.store import Found, Payload

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:xcomp:image")
STAT_FIELDS = ("path", "path_bytes", "size", "mtime_ns", "sidecar_mtime_ns", "content_hash", "spaces")
_PROMOTED = {"date": "date", "tags": "tags", "license": "rights", "creator": "creator", "expires": "expires",
             "embargo": "embargo", "internal": "restricted"}  # fmt: skip


def image_id(repository: str, path: str) -> str:
    """Returns the id of a file of a repository, a UUID."""
    return str(uuid.uuid5(_NAMESPACE, f"{repository}\0{os.fsencode(path).hex()}"))


def shown(path: str) -> str:
    """Spells a path for people and JSON; bytes that are not UTF-8 stand as %XX."""
    return "".join(
        f"%{ord(character) - 0xDC00:02X}" if "\udc80" <= character <= "\udcff" else character for character in path
    )


def build(
    entry: Entry,
    *,
    content_hash: str,
    size: tuple[int, int],
    facts: Metadata,
    labels: Sequence[Label],
    spaces: Sequence[str],
) -> Payload:
    """Puts an image's payload together; the keys are listed in `store.payload`."""
    stored: dict[str, object] = {
        "path": shown(entry.path),
        "root": shown(entry.root),
        "dirs": _folders(entry),
        "size": entry.size,
        "mtime_ns": str(entry.mtime_ns),  # a decimal string: JSON numbers end at 2**53
        "sidecar_mtime_ns": str(entry.sidecar_mtime_ns),
        "content_hash": content_hash,
        "width": size[0],
        "height": size[1],
        "restricted": 0,
        "spaces": list(spaces),
        "metadata": facts,
        "labels": [{"en": label.en, "zh": label.zh, "p": round(label.probability, 4)} for label in labels],
    }
    if stored["path"] != entry.path:
        stored["path_bytes"] = os.fsencode(entry.path).hex()
    stored.update({key: facts[source] for source, key in _PROMOTED.items() if source in facts})
    return stored


def known(point: Found, *, spaces: int) -> Known:
    """Reads back what an ingest compares, from a point with `STAT_FIELDS`."""
    fields = point.payload
    return Known(
        id=point.id,
        path=native_path(fields),
        size=int(str(fields["size"])),
        mtime_ns=int(str(fields["mtime_ns"])),
        sidecar_mtime_ns=int(str(fields["sidecar_mtime_ns"])),
        content_hash=str(fields["content_hash"]),
        complete=len(_strings(fields.get("spaces"))) == spaces,
    )


def native_path(fields: Payload) -> str:
    """Returns the path as the os module spells it."""
    raw = fields.get("path_bytes")
    return os.fsdecode(bytes.fromhex(str(raw))) if raw else str(fields["path"])


def labels(fields: Payload) -> list[Label]:
    """Reads back the classes that were seen."""
    stored = fields.get("labels")
    return [
        Label(str(item["en"]), str(item["zh"]), float(item["p"]))
        for item in (stored if isinstance(stored, list) else ())
        if isinstance(item, Mapping)
    ]


def _folders(entry: Entry) -> list[str]:
    """Names the folders above a file, below its root, from the outermost on: `a`, `a/b`."""
    relative = os.path.relpath(os.path.dirname(entry.path), entry.root)  # noqa: PTH120  # strings, as scandir gives
    parts = [] if relative == "." else Path(shown(relative)).parts
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
