"""The state file of a local server, locked as long as the server runs.

The command that starts the server takes the lock, and the server inherits it. So an ended server is recognized for any
cause, and a process id is never trusted after its process ended.
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
        """Returns the token that it requires, None on a private socket."""
        return Path(self.token_file).read_text(encoding="ascii").strip() if self.token_file else None


def find_running(paths: ServerPaths) -> State | None:
    """Returns the server that runs now, of any build; None if no server runs or its state is not written yet."""
    return _read(paths.state) if lock.is_held(paths.state) else None


def _read(path: Path) -> State | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return State(**{**values, "options": tuple(values["options"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(paths: ServerPaths, state: State) -> None:
    """Writes the state into the existing file, because the lock belongs to the file, not to its name."""
    descriptor = lock.open_private(paths.state)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(state)).encode(), 0)
    finally:
        os.close(descriptor)
