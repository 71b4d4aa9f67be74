"""`xcomp stop`: ends local servers."""

from typing import Annotated

import typer

from xcomp_cli.local_server import manager
from xcomp_cli.local_server.clients import server_paths
from xcomp_cli.local_server.process import COMPOSER, INDEXER, ServerProgram
from xcomp_cli.local_server.state import find_running
from xcomp_cli.output import console, progress
from xcomp_protos.errors import InvalidRequest

_ORDER = (COMPOSER, INDEXER)  # the composer's last calls need the indexer


def stop(
    server: Annotated[
        str, typer.Argument(metavar="[indexer|composer]", help="Which one; by default both.", show_default=False)
    ] = "",
) -> None:
    """Ends the local servers: calls are finished first, images and vectors stay."""
    wanted = [service for service in _ORDER if server in ("", service.name)]
    if not wanted:
        raise InvalidRequest(f"there is no local server {server!r}: write indexer, composer, or nothing for both")
    stopped = [service.name for service in wanted if _stop(service)]
    console.print_result(f"stopped: {', '.join(stopped)}" if stopped else "no local server runs")


def _stop(service: ServerProgram) -> bool:
    """Ends a server; returns whether one ran."""
    paths = server_paths(service)
    if find_running(paths) is None:
        return False
    with progress.show_wait(f"the {service.name} finishes its calls"):
        manager.stop_server(paths)
    return True
