"""Snapshots of an embedded repository: folders below `.snapshots`, each of which can take the repository's place."""

from datetime import UTC, datetime
from pathlib import Path

from xcomp_indexer.store import Snapshot
from xcomp_indexer.store.edge import files, manifest
from xcomp_indexer.store.edge.shard import ShardHandle
from xcomp_protos.errors import Exhausted

FOLDER = ".snapshots"
_PART = ".part"  # ending of one that is being taken
_STAMP = "%Y-%m-%dT%H-%M-%S.%fZ"  # sorts by time, and is a name on every file system


def take(held: ShardHandle) -> Snapshot:
    """Copies a repository as it is now; writers wait meanwhile, readers do not."""
    final = _home(held.path) / datetime.now(UTC).strftime(_STAMP)
    draft = final.with_name(final.name + _PART)
    try:
        with held.writers:
            held.copy(draft / held.manifest.shard)
            manifest.write(draft, held.manifest)
        files.sync(draft)
        draft.rename(final)
        files.sync_one(final.parent)
    except OSError as error:
        raise Exhausted(f"the snapshot of {held.path} failed: {error.strerror}") from error
    finally:
        files.remove(draft)
    return _described(final)


def taken(path: Path) -> list[Snapshot]:
    """Returns the snapshots of the repository in a folder, the oldest first."""
    home = _home(path)
    found = sorted(each for each in home.iterdir() if each.suffix != _PART) if home.is_dir() else []
    return [_described(each) for each in found if manifest.exists(each)]


def _home(path: Path) -> Path:
    return path.parent / FOLDER / path.name


def _described(path: Path) -> Snapshot:
    try:
        moment = datetime.strptime(path.name, _STAMP).replace(tzinfo=UTC)
    except ValueError:  # somebody gave it a name
        return Snapshot(path.name, size_bytes=files.size_bytes(path))
    return Snapshot(path.name, moment.isoformat(timespec="seconds").replace("+00:00", "Z"), files.size_bytes(path))
