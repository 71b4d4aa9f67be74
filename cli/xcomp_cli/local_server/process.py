"""Starts a server as a separate process that outlives the command and its terminal.

Does not decide whether a server is needed.
"""

import hashlib
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xcomp_cli.local_server import lock
from xcomp_cli.local_server.paths import LOOPBACK, ServerPaths
from xcomp_cli.local_server.state import State, write
from xcomp_protos.build import build_id
from xcomp_protos.errors import Unavailable

BIND_S = 30.0
POLL_S = 0.02

_LISTENING = re.compile(r"^listening on (\S+)$", re.MULTILINE)  # the first line of each server's log
# Tokens for servers elsewhere, and settings of single commands: a shared server must not depend on the command that
# started it.
_NOT_FOR_LOCAL = (
    "XCOMP_TOKEN_FILE", "XCOMP_PROFILE", "XCOMP_MODEL", "XCOMP_TLS_CERT", "XCOMP_TLS_KEY", "XCOMP_TLS_CLIENT_CA",
    "XCOMP_TLS_CA", "XCOMP_TLS_CLIENT_CERT", "XCOMP_TLS_CLIENT_KEY", "XCOMP_METRICS_LISTEN", "XCOMP_LOG_FORMAT",
)  # fmt: skip


@dataclass(frozen=True)
class ServerProgram:
    """A kind of server that can run on this machine."""

    name: str
    module: str
    libraries: tuple[str, ...] = ()  # import names without which it cannot start
    settings: tuple[str, ...] = ()  # environment variables that it depends on; other values need another server

    def build(self) -> str:
        """Returns an id that changes with the code and the settings, without revealing secrets."""
        values = "\0".join(f"{name}={os.environ.get(name, '')}" for name in self.settings)
        digest = hashlib.blake2b(values.encode(errors="surrogateescape"), digest_size=4)
        return f"{build_id()}-{digest.hexdigest()}"


_HARDWARE = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
_TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED")
INDEXER = ServerProgram(
    "indexer",
    "xcomp_indexer.server.main",
    libraries=("numpy", "PIL", "qdrant_edge"),
    settings=(
        "XCOMP_STORE", "XCOMP_STORE_KEY", "XCOMP_STORE_KEY_FILE", "XCOMP_LITE_DIR", "HF_HOME", "HF_ENDPOINT",
        "HF_HUB_OFFLINE", *_HARDWARE, *_TRACES,
    ),
)  # fmt: skip
COMPOSER = ServerProgram(
    "composer",
    "xcomp_composer.server.main",
    libraries=("numpy", "PIL"),
    settings=(
        "OPENAI_BASE_URL", "OPENAI_API_KEY", "XCOMP_DEVICE", "XCOMP_PRECISION", "XCOMP_PROCEDURE",
        "XCOMP_PROMPT_MEMORY", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", *_HARDWARE, *_TRACES,
    ),
)  # fmt: skip


def launch(service: ServerProgram, paths: ServerPaths, options: tuple[str, ...]) -> State:
    """Starts the server and writes its state; the caller checks whether it takes calls.

    Raises:
        Unavailable: a server of these paths already runs.
    """
    build = service.build()
    listen = paths.new_address()
    command = [sys.executable, "-m", service.module, "--listen", listen, *options]
    token_file = ""
    if listen == LOOPBACK:
        token_file = _write_token(paths)
        command += ["--token-file", token_file]
    descriptor = lock.open_private(paths.state)
    try:
        if not lock.take(descriptor):
            raise Unavailable(f"another process holds {paths.state}")
        paths.clear_sockets()
        os.ftruncate(descriptor, 0)  # if this command ends now, no old process id is taken for the server's
        state = State(_detach(command, paths.log, keep=descriptor), listen, build, options, token_file)
    finally:
        os.close(descriptor)  # the server still holds it
    write(paths, state)
    if token_file:
        state = replace(state, address=_wait_for_address(paths))
        write(paths, state)
    return state


def wait_until(done: Callable[[], bool], timeout_s: float) -> bool:
    """Waits until `done` is true; returns False if the time ends first."""
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def _detach(command: Sequence[str], log: Path, *, keep: int) -> int:
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_LOCAL}
    with open(log, "ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            cwd="/",
            start_new_session=True,
            pass_fds=(keep,),
        )
    process.returncode = 0  # the process outlives this object: prevents a ResourceWarning
    return process.pid


def _write_token(paths: ServerPaths) -> str:
    paths.token.unlink(missing_ok=True)
    descriptor = lock.open_private(paths.token)
    try:
        os.write(descriptor, secrets.token_urlsafe(32).encode())
    finally:
        os.close(descriptor)
    return str(paths.token)


def _wait_for_address(paths: ServerPaths) -> str:
    """Returns the loopback address in the server's log; without one, waiting for the server shows the reason."""
    wait_until(lambda: _read_address(paths.log) is not None or not lock.is_held(paths.state), BIND_S)
    return _read_address(paths.log) or LOOPBACK


def _read_address(log: Path) -> str | None:
    found = _LISTENING.search(log.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None
