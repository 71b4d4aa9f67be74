"""Where the local data lives, and where the local servers listen.

Knows paths and permissions alone; starts nothing.
"""

import hashlib
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_BYTES = 100  # the kernels stop at 104 (macOS) and 108 (Linux), the final zero included
LOOPBACK = "127.0.0.1:0"


def data_home() -> Path:
    """Returns `XCOMP_HOME`, by default `xcomp` in the user's data folder; absolute, maybe not there yet."""
    given = os.environ.get("XCOMP_HOME")
    if given:
        return Path(given).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser().absolute() / "xcomp"


@dataclass(frozen=True)
class ServerPaths:
    """The files of one local server; `name` tells servers of the same home apart."""

    home: Path
    name: str

    @property
    def state(self) -> Path:
        """Says which process the server is; locked while it lives."""
        return self.home / "run" / f"{self.name}.json"

    @property
    def starting(self) -> Path:
        """Locked by the one command that may start the server."""
        return self.home / "run" / f"{self.name}.starting"

    @property
    def token(self) -> Path:
        """The secret of a server on loopback."""
        return self.home / "run" / f"{self.name}.token"

    @property
    def log(self) -> Path:
        """What the server says; begun anew with each server."""
        return self.home / "logs" / f"{self.name}.log"

    def create(self) -> None:
        """Makes the folders, the private one for its owner alone."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def listen(self) -> str:
        """Returns `unix:/path` of a new private socket, or a loopback address where no path can be one.

        The name is used once: a server that outlived its home removes its own socket when it leaves, and no other's.
        """
        if not hasattr(socket, "AF_UNIX"):
            return LOOPBACK
        for path in (folder / f"{self.name}-{secrets.token_hex(4)}.sock" for folder in self._socket_folders()):
            if _is_an_address(path) and _is_private(path.parent):
                return f"unix:{path}"
        return LOOPBACK

    def clear_sockets(self) -> None:
        """Removes what killed servers left; only for who knows that none lives."""
        for folder in self._socket_folders():
            for path in folder.glob(f"{self.name}-*.sock"):
                path.unlink(missing_ok=True)

    def _socket_folders(self) -> list[Path]:
        return [*_runtime_folders(self.home), self.home / "run"]


def _runtime_folders(home: Path) -> list[Path]:
    """One folder per home below the user's runtime folder, if the system made one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime or not Path(runtime).is_dir():
        return []
    key = hashlib.blake2b(os.fsencode(home), digest_size=4).hexdigest()
    return [Path(runtime) / f"xcomp-{key}"]


def _is_an_address(path: Path) -> bool:
    """Whether gRPC takes `unix:PATH` for this very path: it reads it as a URI."""
    try:
        return len(str(path).encode()) < SOCKET_PATH_BYTES and not set("%?#") & set(str(path))
    except UnicodeEncodeError:
        return False


def _is_private(folder: Path) -> bool:
    """Makes `folder` if need be; whether it is ours and nobody else may enter it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        stat = folder.stat()
    except OSError:
        return False
    return stat.st_uid == os.getuid() and not stat.st_mode & 0o077
