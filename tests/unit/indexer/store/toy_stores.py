"""The module of a toy store: repositories in memory on shelves, as a row of the registry names it."""

from collections.abc import Mapping

from xcomp_indexer.store import IndexKind, Store, Stores
from xcomp_indexer.store.factory import open_stores
from xcomp_protos.errors import InvalidRequest


class ToyStores:
    """Repositories in memory that know the name of their shelf."""

    def __init__(self, shelf: str, inner: Stores) -> None:
        self.place, self._inner = f"toy:{shelf}", inner

    def names(self) -> list[str]:
        return self._inner.names()

    def exists(self, name: str) -> bool:
        return self._inner.exists(name)

    def create(self, name: str, spaces: Mapping[str, int]) -> Store:
        return self._inner.create(name, spaces)

    def open(self, name: str) -> Store:
        return self._inner.open(name)

    def drop(self, name: str) -> None:
        self._inner.drop(name)

    def close(self) -> None:
        self._inner.close()


def connect(address: str, *, api_key: str | None, indexes: Mapping[str, IndexKind]) -> Stores:
    shelf = address.removeprefix("toy:")
    if not shelf:
        raise InvalidRequest(f"store address {address!r}: name a shelf, as in toy:SHELF")
    return ToyStores(shelf, open_stores("memory:"))
