"""A folder as one zip: the same content gives the same bytes, and a reader sees the old file or the new one."""

import os
import zipfile
from pathlib import Path

SUFFIX = ".zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can say


def pack(folder: Path, target: Path) -> None:
    """Writes all files below a folder into a zip, under one folder named after it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                name = Path(target.stem, file.relative_to(folder)).as_posix()
                entry = zipfile.ZipInfo(name, date_time=_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, file.read_bytes())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
