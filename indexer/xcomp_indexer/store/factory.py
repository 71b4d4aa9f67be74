"""Opens the repositories at an address; an engine is imported when an address asks for it, not before."""

from collections.abc import Mapping
from pathlib import Path

from xcomp_indexer.store import INDEXES, IndexKind, Stores
from xcomp_protos.errors import InvalidRequest


def open_stores(address: str, *, api_key: str | None = None, indexes: Mapping[str, IndexKind] = INDEXES) -> Stores:
    """Returns the repositories at an address.

    Args:
        address: `edge:FOLDER` (embedded, the default of the product), `http(s)://HOST:PORT` or `grpc(s)://HOST:PORT`
            of a Qdrant server, or `memory:` for tests.
        api_key: of a server that wants one.
        indexes: the payload keys to index.

    Raises:
        InvalidRequest: no such kind of address.
    """
    kind, _, place = address.partition(":")
    if kind == "edge" and place:
        from xcomp_indexer.store.edge.stores import EdgeStores

        return EdgeStores(Path(place).expanduser(), indexes=indexes)
    if address == "memory:" or kind in ("http", "https", "grpc", "grpcs"):
        from xcomp_indexer.store.qdrant import stores

        if kind == "memory":
            return stores.memory()
        return stores.connect(address, api_key=api_key, indexes=indexes)
    raise InvalidRequest(
        f"store address {address!r}: use edge:FOLDER, http(s)://HOST:PORT, grpc(s)://HOST:PORT or memory:"
    )
