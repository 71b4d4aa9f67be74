"""Snapshots of an embedded repository: folders below `.snapshots`, each of which can replace the repository."""

from datetime import UTC, datetime
from pathlib import Path

from xcomp_indexer.store import Snapshot
from xcomp_indexer.store.edge import files, manifest
from xcomp_indexer.store.edge.shard import ShardHandle
from xcomp_protos.errors import Exhausted

FOLDER = ".snapshots"
_PART = ".part"  # ending of one that is being taken
_STAMP = "%Y-%m-%dT%H-%M-%S.%fZ"  # sorts by time and is a valid name on every file system


def take_snapshot(handle: ShardHandle) -> Snapshot:
    """Copy the current state of a repository; writers wait meanwhile, readers do not."""
    final = _home(handle.path) / datetime.now(UTC).strftime(_STAMP)
    draft = final.with_name(final.name + _PART)
    try:
        with handle.writers:
            handle.copy(draft / handle.manifest.shard)
            manifest.write(draft, handle.manifest)
        files.sync(draft)
        draft.rename(final)
        files.sync_one(final.parent)
    except OSError as error:
        raise Exhausted(f"the snapshot of {handle.path} failed: {error.strerror}") from error
    finally:
        files.remove(draft)
    return _describe(final)


def list_snapshots(path: Path) -> list[Snapshot]:
    """Returns the snapshots of the repository in a folder, the oldest first."""
    home = _home(path)
    found = sorted(each for each in home.iterdir() if each.suffix != _PART) if home.is_dir() else []
    return [_describe(each) for each in found if manifest.exists(each)]


def _home(path: Path) -> Path:
    return path.parent / FOLDER / path.name


def _describe(path: Path) -> Snapshot:
    try:
        moment = datetime.strptime(path.name, _STAMP).replace(tzinfo=UTC)
    except ValueError:  # it was renamed by hand
        return Snapshot(path.name, size_bytes=files.size_bytes(path))
    return Snapshot(path.name, moment.isoformat(timespec="seconds").replace("+00:00", "Z"), files.size_bytes(path))
