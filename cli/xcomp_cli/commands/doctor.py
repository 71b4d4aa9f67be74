"""`xcomp doctor`: checks this machine and its servers; says what is wrong and how to fix it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import typer

from xcomp_cli import options
from xcomp_cli.diagnostics import machine, servers
from xcomp_cli.diagnostics.machine import Finding
from xcomp_cli.local_server import clients
from xcomp_cli.output import console
from xcomp_protos.build import VERSION
from xcomp_protos.client import ComposerClient
from xcomp_protos.errors import XcompError

SKEW_S = 5.0  # of the server's clock, which decides about embargoes and expiry dates


def doctor(json: options.Json = False) -> None:
    """Checks this installation and its servers, and says how to fix what is wrong."""
    findings = []
    for finding in _check_all():
        findings.append(finding)
        if not json:
            console.print_result(machine.line(finding))
    if json:
        console.print_json([machine.as_json(finding) for finding in findings])
    raise typer.Exit(int(any(finding.fault for finding in findings)))


def _check_all() -> Iterator[Finding]:
    indexer, composer = os.environ.get("XCOMP_INDEXER", ""), os.environ.get("XCOMP_COMPOSER", "")
    yield from machine.check_versions()
    yield from machine.check_extras(local=not (indexer and composer))
    yield from machine.check_models()
    yield from machine.check_home()
    yield from machine.check_secrets()
    yield from machine.check_ports()
    yield from machine.check_gpu()
    yield from _check_indexer(indexer)
    yield from _check_composer(composer, indexer)


def _check_indexer(address: str) -> Iterator[Finding]:
    """Finds or starts the indexer, then checks its version, its clock, its store and each repository."""

    name = "indexer" if address else "local indexer"
    before = time.time()
    try:
        with clients.indexer(address) as client:
            described = client.describe()
    except XcompError as error:
        yield Finding(name, str(error), fault=True)
        return
    yield _check_version(name, address, described.version)
    yield Finding("store", described.store)
    if described.unix_time_ms:
        yield _check_clock(described.unix_time_ms / 1000, before, time.time())
    for one in described.repositories:
        if one.problem:
            yield Finding(f"repository {one.name}", one.problem, fault=True)


def _check_version(name: str, address: str, version: str) -> Finding:
    """Reports that a server answers; a version other than ours is a fault."""

    fact = f"{address or 'starts and'} answers"
    if version != VERSION:
        fact += f"; it is version {version}, this is {VERSION}: install the same on both sides"
    return Finding(name, fact, fault=version != VERSION)


def _check_clock(server: float, before: float, after: float) -> Finding:
    """Compares the server's clock with ours around the call."""
    skew = max(before - server, server - after, 0.0)
    fact = "agrees with this machine's" if skew <= SKEW_S else f"is {skew:.0f} s off: set the time on both machines"
    return Finding("clock of the indexer", fact, fault=skew > SKEW_S)


def _check_composer(address: str, indexer: str) -> Iterator[Finding]:

    name = "composer" if address else "local composer"
    opened: Callable[..., AbstractContextManager[ComposerClient]] = clients.composer
    try:
        with opened(address, indexer_address=indexer) as client:
            described = client.describe()
    except XcompError as error:
        yield Finding(name, str(error), fault=True)
        return
    yield _check_version(name, address, described.version)
    yield from servers.check_composer(described)
