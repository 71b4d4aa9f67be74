"""The build id: a short word that changes with the installed code.

The command line compares it with the id of a running local server, and replaces a server of another build. Every
command computes it, so it reads only the names, sizes and times of the files.
"""

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

VERSION = "0.1.0"  # of the distribution; importlib.metadata would take 20 ms to read it
PACKAGES = ("xcomp_protos", "xcomp_indexer", "xcomp_model", "xcomp_composer", "xcomp_cli")


def build_id() -> str:
    """Returns a digest over the version and the name, size and time of every file of our packages."""
    digest = hashlib.blake2b(VERSION.encode(), digest_size=8)
    for path in _files():
        stat = path.stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files() -> Iterator[Path]:
    for name in PACKAGES:
        spec = find_spec(name)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            paths = sorted(Path(folder).rglob("*"))
            yield from (path for path in paths if "__pycache__" not in path.parts and path.is_file())
