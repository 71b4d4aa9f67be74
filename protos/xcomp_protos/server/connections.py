"""Connections of strangers: while there are too many, the oldest are closed, so that descriptors remain for callers.

A connection belongs to a stranger until a call on it is admitted. gRPC has no handle for a connection and no limit by
kind; this module finds the sockets among the descriptors of the process.
"""

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

SWEEP_S = 0.5
MOST_FILES = 65_536  # descriptors that a server asks the system for
_MOST_STRANGERS = 512
_FOLDER = {"linux": "/proc/self/fd", "darwin": "/dev/fd"}.get(sys.platform)


class StrangerConnections:
    """Knows which connections of a port belong to callers, and closes the oldest of the others.

    Args:
        port: of the server.
        most: connections that strangers may have; None: a quarter of the descriptors of the process.
    """

    def __init__(self, port: int, most: int | None = None) -> None:
        self._port = port
        self._most = most if most is not None else max(4, min(_MOST_STRANGERS, descriptor_limit() // 4))
        self._callers: set[str] = set()
        self._seen: dict[str, None] = {}  # strangers, the oldest first
        self._stop = threading.Event()

    def admit(self, peer: str) -> None:
        """Notes that a call of this peer was admitted."""
        self._callers.add(peer)

    def start(self) -> None:
        """Looks at the connections from now on, in a thread."""
        if _FOLDER:
            threading.Thread(target=self._run, name="connections", daemon=True).start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()

    def sweep(self) -> int:
        """Closes the oldest connections of strangers beyond their number; returns how many."""
        known = self._callers.copy()
        here = dict(_connections(self._port))
        self._callers -= known - here.keys()  # they are gone; a peer that was admitted meanwhile stays
        self._seen = dict.fromkeys([each for each in self._seen if each in here and each not in self._callers])
        self._seen |= dict.fromkeys(each for each in here if each not in self._callers)
        too_many = list(self._seen)[: max(0, len(self._seen) - self._most)]
        for peer in too_many:
            _shut(here[peer], peer, self._port)
        return len(too_many)

    def _run(self) -> None:
        while not self._stop.wait(SWEEP_S):
            self.sweep()


def raise_descriptor_limit() -> None:
    """Asks the system for as many descriptors as it allows this process."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def descriptor_limit() -> int:
    """Returns how many descriptors this process may have."""
    try:
        import resource
    except ImportError:
        return MOST_FILES
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_FILES if soft == resource.RLIM_INFINITY else min(soft, MOST_FILES)


def _connections(port: int) -> Iterator[tuple[str, int]]:
    """Yields the peers of the connections to a port, named as gRPC names them, and their descriptors."""
    for descriptor in _descriptors():
        peer = _peer(descriptor, port)
        if peer:
            yield peer, descriptor


def _descriptors() -> list[int]:
    try:
        return sorted(map(int, os.listdir(str(_FOLDER))))  # noqa: PTH208  # names alone
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return []
        return list(range(min(descriptor_limit(), 4096)))  # no descriptor is left to list them


def _peer(descriptor: int, port: int) -> str:
    """Returns the peer of a connected TCP socket with this local port; empty for any other descriptor."""
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        return ""
    try:
        if found.family not in (socket.AF_INET, socket.AF_INET6) or found.getsockname()[1] != port:
            return ""
        host, peer_port = found.getpeername()[:2]
    except OSError:  # it listens, or is closed
        return ""
    finally:
        found.detach()
    host = host.removeprefix("::ffff:")
    return f"ipv6:%5B{host}%5D:{peer_port}" if ":" in host else f"ipv4:{host}:{peer_port}"


def _shut(descriptor: int, peer: str, port: int) -> None:
    """Shuts a connection if the descriptor still is that one; gRPC then closes it."""
    if _peer(descriptor, port) != peer:
        return
    with suppress(OSError):
        found = socket.socket(fileno=descriptor)
        try:
            found.shutdown(socket.SHUT_RDWR)
        finally:
            found.detach()
