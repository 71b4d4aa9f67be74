"""`xcomp ps`: which local servers run."""

import time

from xcomp_cli import options
from xcomp_cli.local_server import manager
from xcomp_cli.local_server.clients import server_paths
from xcomp_cli.local_server.process import COMPOSER, INDEXER
from xcomp_cli.local_server.state import State, find_running
from xcomp_cli.output import console


def ps(json: options.Json = False) -> None:
    """Lists the local servers that run, and starts none."""
    found = [(service, state) for service in (INDEXER, COMPOSER) if (state := find_running(server_paths(service)))]
    if json:
        console.print_json([
            {**_as_json(service.name, state), "serving": manager.is_serving(service, state)} for service, state in found
        ])  # fmt: skip
        return
    for service, state in found:
        health = "" if manager.is_serving(service, state) else ", does not take calls now"
        address = console.printable(state.address)
        uptime = _format_uptime(_uptime_s(service.name))
        console.print_result(f"{service.name:<9}  process {state.pid}  {address}  for {uptime}{health}")
    if not found:
        console.note("no local server runs: the next command that needs one starts it")


def _as_json(name: str, state: State) -> dict[str, console.Json]:
    return {"server": name, "pid": state.pid, "address": state.address, "uptime_s": round(_uptime_s(name))}


def _uptime_s(name: str) -> float:
    """Returns how long a server has run: its state file was written at its start."""
    service = INDEXER if name == INDEXER.name else COMPOSER
    return max(0.0, time.time() - server_paths(service).state.stat().st_mtime)


def _format_uptime(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"  # seconds of a minute
