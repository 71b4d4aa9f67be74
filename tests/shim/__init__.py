"""A Qdrant server on loopback for tests: real wire formats, answered by the client's own local mode.

A request that passes here is one that a server can read. It knows nothing of a server's speed, limits or indexing.
"""

from pathlib import Path
from types import TracebackType

from tests.shim import rest, wire
from tests.shim.backend import Backend, Fault, Request

__all__ = ["Backend", "Fault", "Request", "Shim"]


class Shim:
    """A running server; `with Shim("http") as shim` gives its address in `shim.address`.

    Args:
        scheme: `http`, `https`, `grpc` or `grpcs`.
        port: 0 for any; a port used before brings a server back.
        backend: its collections, and the key that it asks for.
        pem: file with certificate and key, for the secure schemes, whose address is `localhost`.
    """

    def __init__(self, scheme: str, *, port: int = 0, backend: Backend | None = None, pem: Path | None = None) -> None:
        self.backend = backend or Backend()
        self.port, self._stop = (rest if scheme.startswith("http") else wire).serve(self.backend, port, pem)
        self.address = f"{scheme}://{'localhost' if pem else '127.0.0.1'}:{self.port}"

    def stop(self) -> None:
        """Takes the server away; again is harmless."""
        stop, self._stop = self._stop, lambda: None
        stop()

    def __enter__(self) -> "Shim":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
