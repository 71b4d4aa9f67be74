"""What is known of a local server: the state file, locked from the server's first moment to its last.

The lock is taken by whoever starts the server and inherited by it, so a dead server is known as dead whatever killed
it, and a process number is never trusted after its process.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from xcomp_cli.local_server import lock
from xcomp_cli.local_server.paths import ServerPaths


@dataclass(frozen=True)
class State:
    """A server that was started from this home."""

    pid: int
    address: str
    build: str
    options: tuple[str, ...]
    token_file: str = ""

    def token(self) -> str | None:
        """Returns the secret it asks for, None on a private socket."""
        return Path(self.token_file).read_text(encoding="ascii").strip() if self.token_file else None


def find_running(paths: ServerPaths) -> State | None:
    """Returns the server that lives now, of whatever build; None if there is none or it is only just being born."""
    return _read(paths.state) if lock.is_held(paths.state) else None


def _read(path: Path) -> State | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return State(**{**values, "options": tuple(values["options"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(paths: ServerPaths, state: State) -> None:
    """Writes the state into the same file as before: the lock belongs to the file, not to its name."""
    descriptor = lock.open_private(paths.state)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(state)).encode(), 0)
    finally:
        os.close(descriptor)
