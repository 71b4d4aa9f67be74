"""Finds local servers or starts them.

A home has one server of a kind. Concurrent commands share it, and a server of another build is replaced. Does not
depend on what the servers do.
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
from xcomp_cli.local_server.process import INDEXER, ServerProgram, launch, wait_until
from xcomp_cli.local_server.state import State, find_running
from xcomp_protos.client import ComposerClient, IndexerClient
from xcomp_protos.errors import Unavailable, Unsupported, XcompError

START_S = 60.0
DRAIN_S = 30.0  # a server drains for 25
KILL_S = 5.0
# The embedded engine maps files of 32 MiB and fills them later; if the disk has no room then, the system kills it.
# The indexer refuses writes below a bound of its own (`store/edge/shard.py`), which this package does not import.
ROOM_BYTES = 64 * 2**20

Waiting = Callable[[str], AbstractContextManager[None]]  # shows a person what the command waits for


def ensure(service: ServerProgram, paths: ServerPaths, *, options: Sequence[str] = (), waiting: Waiting) -> State:
    """Returns a server of this build, these settings and options that takes calls; starts one if necessary.

    Raises:
        Unavailable: the server ended or did not answer in time; the message has the last line of its log.
        Unsupported: its libraries are not installed.
    """
    wanted = (service.build(), tuple(options))
    state = _find_matching(paths, wanted)
    if state and is_serving(service, state):
        return state
    require(service)
    paths.create()
    with waiting(f"starting the {service.name}"), lock.hold(paths.starting):
        state = _find_matching(paths, wanted)
        if state and _wait_until_serving(service, paths, state):
            return state
        stop_server(paths)
        state = launch(service, paths, wanted[1])
        if not _wait_until_serving(service, paths, state):
            why = explain_full_disk(paths) or last_line(paths.log)
            raise Unavailable(f"the {service.name} did not start: {why} (log: {paths.log})")
        return state


def require(service: ServerProgram) -> None:
    """Raises `Unsupported` with the install command if a library of the service is missing."""
    missing = [name for name in service.libraries if find_spec(name) is None]
    if missing:
        raise Unsupported(
            f"a local {service.name} needs {', '.join(missing)}: pip install 'xcomp[local]', "
            f"or name a running one with --{service.name}"
        )


def stop_server(paths: ServerPaths) -> None:
    """Stops the server if one runs: asks it to finish its calls, then kills it.

    Raises:
        Unavailable: it is still running.
    """
    for number, patience_s in ((signal.SIGTERM, DRAIN_S), (signal.SIGKILL, KILL_S)):
        state = find_running(paths)
        if state:
            with suppress(ProcessLookupError):  # it has already ended
                os.kill(state.pid, number)
        if wait_until(lambda: not lock.is_held(paths.state), patience_s):
            return
    raise Unavailable(f"an old server does not stop: {paths.state} names its process")


def is_serving(service: ServerProgram, state: State) -> bool:
    """Whether the server takes calls now."""
    if not _is_listening(state.address):
        return False
    kind = IndexerClient if service is INDEXER else ComposerClient
    with kind(state.address, token=state.token()) as client:
        try:
            return client.healthy()
        except XcompError:
            return False


def last_line(log: Path) -> str:
    """Returns the last line of a log that is not blank."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")


def explain_full_disk(paths: ServerPaths) -> str:
    """Returns a message if the disk of a server is full, which ends a server without a log line; else nothing."""
    full = shutil.disk_usage(paths.home).free < ROOM_BYTES
    return f"the disk of {paths.home} is full: make room, then run the command again" if full else ""


def _find_matching(paths: ServerPaths, wanted: tuple[str, tuple[str, ...]]) -> State | None:
    state = find_running(paths)
    return state if state and (state.build, state.options) == wanted else None


def _wait_until_serving(service: ServerProgram, paths: ServerPaths, state: State) -> bool:
    """Waits until the server takes calls; returns False if it ended."""
    if wait_until(lambda: not lock.is_held(paths.state) or is_serving(service, state), START_S):
        return lock.is_held(paths.state)
    raise Unavailable(
        f"the {service.name} (process {state.pid}) does not answer: stop that process, or see {paths.log}"
    )


def _is_listening(address: str) -> bool:
    """Whether a connection is accepted; checked first, because a gRPC channel backs off after a refusal."""
    if address.startswith("unix:"):
        return _can_connect(socket.AF_UNIX, address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return _can_connect(socket.AF_INET, (host, int(port)))


def _can_connect(family: socket.AddressFamily, target: str | tuple[str, int]) -> bool:
    with socket.socket(family) as probe:
        probe.settimeout(5)
        return probe.connect_ex(target) == 0
