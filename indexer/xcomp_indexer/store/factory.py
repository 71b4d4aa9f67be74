"""The registry of stores: which module opens the repositories at an address. Imports an engine only when it is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from xcomp_indexer.store import INDEXES, IndexKind, Stores
from xcomp_protos.errors import InvalidRequest


class Connect(Protocol):
    """The function `connect` that the module of a store has."""

    def __call__(self, address: str, *, api_key: str | None, indexes: Mapping[str, IndexKind]) -> Stores:
        """Return the repositories at an address whose scheme the registry lists.

        Args:
            address: with its scheme.
            api_key: of a server that wants one.
            indexes: the payload keys to index.

        Raises:
            InvalidRequest: the rest of the address is wrong.
        """


@dataclass(frozen=True)
class StoreKind:
    """A row of the registry."""

    schemes: tuple[str, ...]  # of its addresses, what comes before the first colon
    usage: str  # how its addresses are written
    module: str  # has `connect`


KINDS: Sequence[StoreKind] = (
    StoreKind(("edge",), "edge:FOLDER", "xcomp_indexer.store.edge.stores"),
    StoreKind(
        ("http", "https", "grpc", "grpcs", "memory"),
        "http(s)://HOST:PORT, grpc(s)://HOST:PORT, memory:",
        "xcomp_indexer.store.qdrant.stores",
    ),
)


def open_stores(address: str, *, api_key: str | None = None, indexes: Mapping[str, IndexKind] = INDEXES) -> Stores:
    """Return the repositories at an address; the arguments are those of `Connect`.

    Raises:
        InvalidRequest: there is no such kind of address.
    """
    scheme, colon, _ = address.partition(":")
    for kind in KINDS:
        if colon and scheme in kind.schemes:
            connect = cast("Connect", import_module(kind.module).connect)
            return connect(address, api_key=api_key, indexes=indexes)
    raise InvalidRequest(f"store address {address!r}: use {', '.join(kind.usage for kind in KINDS)}")
