"""Paths of local data and of local servers, with their permissions; starts nothing."""

import hashlib
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_BYTES = 100  # the kernels stop at 104 (macOS) and 108 (Linux), the final zero included
LOOPBACK = "127.0.0.1:0"


def data_home() -> Path:
    """Returns `XCOMP_HOME`, by default `xcomp` in the user's data folder; absolute; it may not exist yet."""
    given = os.environ.get("XCOMP_HOME")
    if given:
        return Path(given).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser().absolute() / "xcomp"


@dataclass(frozen=True)
class ServerPaths:
    """The files of one local server; `name` distinguishes servers of the same home."""

    home: Path
    name: str

    @property
    def state(self) -> Path:
        """The state file, locked while the server runs."""
        return self.home / "run" / f"{self.name}.json"

    @property
    def starting(self) -> Path:
        """The file that the one command that starts the server locks."""
        return self.home / "run" / f"{self.name}.starting"

    @property
    def token(self) -> Path:
        """The file with the token of a server on loopback."""
        return self.home / "run" / f"{self.name}.token"

    @property
    def log(self) -> Path:
        """The log, a new file for each server."""
        return self.home / "logs" / f"{self.name}.log"

    def create(self) -> None:
        """Creates the folders; only their owner can enter the private one."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def new_address(self) -> str:
        """Returns `unix:/path` of a new private socket, or a loopback address if no path can be one.

        Each name is used once, so that a server that outlives its home removes only its own socket.
        """
        if not hasattr(socket, "AF_UNIX"):
            return LOOPBACK
        for path in (folder / f"{self.name}-{secrets.token_hex(4)}.sock" for folder in self._socket_folders()):
            if _is_an_address(path) and _is_private(path.parent):
                return f"unix:{path}"
        return LOOPBACK

    def clear_sockets(self) -> None:
        """Removes sockets of killed servers; call it only if no server runs."""
        for folder in self._socket_folders():
            for path in folder.glob(f"{self.name}-*.sock"):
                path.unlink(missing_ok=True)

    def _socket_folders(self) -> list[Path]:
        return [*_runtime_folders(self.home), self.home / "run"]


def _runtime_folders(home: Path) -> list[Path]:
    """Returns a folder of this home below the user's runtime folder, if that exists."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime or not Path(runtime).is_dir():
        return []
    key = hashlib.blake2b(os.fsencode(home), digest_size=4).hexdigest()
    return [Path(runtime) / f"xcomp-{key}"]


def _is_an_address(path: Path) -> bool:
    """Whether `unix:PATH` names this path to gRPC, which parses it as a URI."""
    try:
        return len(str(path).encode()) < SOCKET_PATH_BYTES and not set("%?#") & set(str(path))
    except UnicodeEncodeError:
        return False


def _is_private(folder: Path) -> bool:
    """Creates `folder` if necessary; whether only its owner, this user, can enter it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        stat = folder.stat()
    except OSError:
        return False
    return stat.st_uid == os.getuid() and not stat.st_mode & 0o077
