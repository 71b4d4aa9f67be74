"""Finds the local servers or has them started: a newcomer needs no service, a second command finds one warm.

A home has one server of a kind; concurrent commands share it, and one of another build is replaced. This file does
not know what the servers do.
"""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from importlib.util import find_spec
from pathlib import Path

from xcomp_cli.local_server import lock
from xcomp_cli.local_server.paths import ServerPaths
from xcomp_cli.local_server.process import INDEXER, ServerProgram, launch, until
from xcomp_cli.local_server.state import State, running
from xcomp_protos.client import ComposerClient, IndexerClient
from xcomp_protos.errors import Unavailable, Unsupported, XcompError

START_S = 60.0
DRAIN_S = 30.0  # a server drains for 25
KILL_S = 5.0
# The embedded engine maps files of 32 MiB and fills them later; if the disk has no room then, the system kills it.
# The indexer refuses writes below a bound of its own (`store/edge/shard.py`), which this package does not import.
ROOM_BYTES = 64 * 2**20

Waiting = Callable[[str], AbstractContextManager[None]]  # shows a person what is being waited for


def ensure(service: ServerProgram, places: ServerPaths, *, options: Sequence[str] = (), waiting: Waiting) -> State:
    """Returns a server of this build, these settings and options that takes calls, started if there is none.

    Raises:
        Unavailable: it died or did not answer in time; the message has the last line of its log.
        Unsupported: libraries of it are not installed.
    """
    wanted = (service.build(), tuple(options))
    state = _fitting(places, wanted)
    if state and serves(service, state):
        return state
    require(service)
    places.create()
    with waiting(f"starting the {service.name}"), lock.held(places.starting):
        state = _fitting(places, wanted)
        if state and _comes_up(service, places, state):
            return state
        retire(places)
        state = launch(service, places, wanted[1])
        if not _comes_up(service, places, state):
            why = full_disk(places) or last_line(places.log)
            raise Unavailable(f"the {service.name} did not start: {why} (log: {places.log})")
        return state


def require(service: ServerProgram) -> None:
    """Raises `Unsupported` with the install command if a library of the service is missing."""
    missing = [name for name in service.libraries if find_spec(name) is None]
    if missing:
        raise Unsupported(
            f"a local {service.name} needs {', '.join(missing)}: pip install 'xcomp[local]', "
            f"or name a running one with --{service.name}"
        )


def retire(places: ServerPaths) -> None:
    """Ends the server that lives, if one does: lets it finish its calls, then insists.

    Raises:
        Unavailable: it survived.
    """
    for number, patience_s in ((signal.SIGTERM, DRAIN_S), (signal.SIGKILL, KILL_S)):
        state = running(places)
        if state:
            with suppress(ProcessLookupError):  # it went by itself
                os.kill(state.pid, number)
        if until(lambda: not lock.is_held(places.state), patience_s):
            return
    raise Unavailable(f"an old server does not end: {places.state} names its process")


def serves(service: ServerProgram, state: State) -> bool:
    """Whether the server takes calls now."""
    if not _listens(state.address):
        return False
    kind = IndexerClient if service is INDEXER else ComposerClient
    with kind(state.address, token=state.token()) as client:
        try:
            return client.healthy()
        except XcompError:
            return False


def last_line(log: Path) -> str:
    """Returns the last line of a log that says something."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def full_disk(places: ServerPaths) -> str:
    """Says that a server's disk is full, which ends one without a last word, and the way out; nothing if it is not."""
    full = shutil.disk_usage(places.home).free < ROOM_BYTES
    return f"the disk of {places.home} is full: make room, then run the command again" if full else ""


def _fitting(places: ServerPaths, wanted: tuple[str, tuple[str, ...]]) -> State | None:
    state = running(places)
    return state if state and (state.build, state.options) == wanted else None


def _comes_up(service: ServerProgram, places: ServerPaths, state: State) -> bool:
    """Waits until the server takes calls; False if it died meanwhile."""
    if until(lambda: not lock.is_held(places.state) or serves(service, state), START_S):
        return lock.is_held(places.state)
    raise Unavailable(
        f"the {service.name} (process {state.pid}) does not answer: end that process, or see {places.log}"
    )


def _listens(address: str) -> bool:
    """Whether anybody accepts connections there; asked first, since a gRPC channel backs off after a refusal."""
    if address.startswith("unix:"):
        return _connects(socket.AF_UNIX, address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return _connects(socket.AF_INET, (host, int(port)))


def _connects(family: socket.AddressFamily, target: str | tuple[str, int]) -> bool:
    with socket.socket(family) as probe:
        probe.settimeout(5)
        return probe.connect_ex(target) == 0
