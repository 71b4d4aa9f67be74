"""`xcomp status`: which servers run, what the repositories contain, and what the servers report as wrong."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import typer

from xcomp_cli import options
from xcomp_cli.diagnostics import machine, servers
from xcomp_cli.diagnostics.machine import Finding
from xcomp_cli.local_server import clients
from xcomp_cli.local_server.paths import data_home
from xcomp_cli.local_server.process import COMPOSER, INDEXER
from xcomp_cli.local_server.state import State, find_running
from xcomp_cli.output import console, repositories
from xcomp_cli.output.message_json import to_json
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import ComposerClient
from xcomp_protos.errors import Unavailable, XcompError

ASKED_S = 10.0  # in which a local composer has to answer


@dataclass(frozen=True)
class _ServerStatus:
    """The servers as they are now."""

    address: str  # of the indexer
    described: pb.DescribeResponse
    indexer: State | None  # the local one
    composer: State | None
    findings: Sequence[Finding]
    is_reached: bool  # whether the composer answered, if one was named


def status(json: options.Json = False, indexer: options.Indexer = "", composer: options.Composer = "") -> None:
    """Shows the servers and the repositories, what is wrong with them and how to fix it."""
    seen = _inspect(indexer, composer)
    if json:
        console.print_json(_as_json(seen, servers=not indexer))
    else:
        _show(seen, named=bool(indexer), composer=composer)
    if not seen.is_reached:
        raise typer.Exit(console.UNREACHABLE)


def _inspect(indexer: str, composer: str) -> _ServerStatus:

    with clients.indexer(indexer) as client:
        healthy = _is_healthy(client.healthy, client.address, named=bool(indexer))
        described = client.describe()
        address = client.address
    log = "" if indexer else f": {clients.server_paths(INDEXER).log}"
    own = None if indexer else find_running(clients.server_paths(INDEXER))
    beside = None if indexer or composer else find_running(clients.server_paths(COMPOSER))
    of_composer, is_reached = _check_composer(composer, address, beside)
    is_local = not clients.is_remote(indexer)
    findings = [
        *servers.check_indexer(healthy=healthy, log=log),
        *servers.check_default_profile(described, local=is_local),
        *of_composer,
        *servers.check_repositories(described, local=is_local),
    ]
    return _ServerStatus(address, described, own, beside, findings, is_reached)


def _is_healthy(ask: Callable[[], bool], address: str, *, named: bool) -> bool:

    try:
        return ask()
    except Unavailable as error:
        if not named:
            raise
        way = f"start it there with: xcomp serve indexer --listen {address}, or read the end of its log"
        raise Unavailable(f"{error} {way}") from None


def _check_composer(named: str, indexer: str, state: State | None) -> tuple[list[Finding], bool]:
    """Asks the named composer, or a local one that runs; starts no composer. Returns whether it answered as well."""

    if not named and state is None:
        return [], True
    way = f"start it there with: xcomp serve composer --listen {named}, or read the end of its log"
    client: AbstractContextManager[ComposerClient]
    if named:
        client = clients.composer(named, indexer_address=indexer)
    else:
        assert state
        client = ComposerClient(state.address, token=state.token(), timeout_s=ASKED_S)
        log = clients.server_paths(COMPOSER).log
        way = f"end process {state.pid}, and the next command starts another; its log: {log}"
    try:
        with client as asked:
            described = asked.describe()
        if not named and described.indexer != indexer:
            return [], True  # it belongs to an earlier indexer: the next command that needs a composer starts another
        return list(servers.check_composer(described)), True
    except XcompError as error:
        return [Finding("composer", f"{error}: {way}", fault=True)], not named


def _show(seen: _ServerStatus, *, named: bool, composer: str) -> None:

    described = seen.described
    console.print_result(f"indexer    {console.printable(seen.address)}, {_memory(described.memory_bytes)}")
    console.print_result(f"store      {console.printable(described.store)}")
    if composer:
        console.print_result(f"composer   {console.printable(composer)}")
    elif not named:
        local = seen.composer.address if seen.composer else "not running: it starts when it is needed"
        console.print_result(f"composer   {local}")
    if not named:
        console.print_result(f"home       {console.printable(str(data_home()))}")
    loaded = ", ".join(
        f"{name} ({engine})" if (engine := described.engines.get(name)) else name for name in described.models_loaded
    )
    console.print_result(f"models     {console.printable(loaded) or 'none in memory: they load when they are needed'}")
    console.print_result(f"profile    {console.printable(described.default_profile)} for new repositories")
    for one in described.repositories:
        if not one.problem:
            console.print_result(f"repository {repositories.line(one)}")
    if not described.repositories:
        console.note("no repository yet: xcomp index FOLDER makes one")
    for finding in seen.findings:
        console.print_result(machine.line(finding))


def _as_json(seen: _ServerStatus, *, servers: bool) -> console.Json:
    described = seen.described
    states = {"indexer": seen.indexer, "composer": seen.composer} if servers else {}
    return {
        **to_json(described, "version", "build"),
        "indexer": seen.address,
        **to_json(described, "store", "models_loaded", "engines", "memory_bytes", "default_profile"),
        "servers": {
            name: {"pid": state.pid, "address": state.address} if state else None for name, state in states.items()
        },
        **to_json(described, "repositories"),
        "findings": [machine.as_json(finding) for finding in seen.findings],
    }


def _memory(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB in memory"
