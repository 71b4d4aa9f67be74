"""An open repository: its store, the record of its spaces, and locks for the work on it.

`catalog.py` knows which repositories there are and opens them.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from xcomp_indexer.repository import spaces
from xcomp_indexer.repository.spaces import RepositoryConfig, Space
from xcomp_indexer.store import Meta, Store
from xcomp_protos.errors import Conflict

RECORD_S = 2  # age at which a record is read again: another server may have switched spaces of the same store


@dataclass(eq=False)
class Repository:
    """An open repository. It equals only itself, since its name may be dropped and created again."""

    name: str
    store: Store
    record: RepositoryConfig
    ingesting: threading.Lock = field(default_factory=threading.Lock)  # one ingest at a time
    filling: threading.Lock = field(default_factory=threading.Lock)  # one space is filled at a time
    placing: threading.Lock = field(
        default_factory=threading.Lock
    )  # of two uploads of the same content, the second finds the first
    writing: threading.Lock = field(
        default_factory=threading.Lock
    )  # held from reading a point until it is written again
    read_at: float = field(default_factory=time.monotonic)  # when the record was read, monotonic seconds
    _rewriting: threading.Lock = field(default_factory=threading.Lock)  # held while the record is read or changed

    @property
    def profile(self) -> str:
        """The profile with which it was created: a name or a list of spaces."""
        return self.record.profile

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The active spaces, in the order in which they are tried."""
        record = self.record
        return tuple(record.spaces[name] for name in record.active)

    @property
    def held(self) -> tuple[Space, ...]:
        """All spaces, the active ones first; every new image gets a vector in each."""
        record = self.record
        others = sorted(record.spaces.keys() - set(record.active))
        return tuple(record.spaces[name] for name in (*record.active, *others))

    @property
    def image_size(self) -> int:
        """Pixels that the largest preprocessing of its spaces reads."""
        return max(space.image_size for space in self.held)

    def rewrite(self, change: Callable[[RepositoryConfig], RepositoryConfig]) -> None:
        """Change the record in one step."""
        with self._rewriting:
            record = change(read_config(self.name, self.store.meta()))
            self.store.set_meta(record.write())
            self.record, self.read_at = record, time.monotonic()

    def reread(self) -> None:
        """Read the record again if it is old and no other thread is reading it."""
        if time.monotonic() - self.read_at > RECORD_S and self._rewriting.acquire(blocking=False):
            try:
                self.record, self.read_at = read_config(self.name, self.store.meta()), time.monotonic()
            finally:
                self._rewriting.release()


def read_config(name: str, meta: Meta) -> RepositoryConfig:
    """Read the record of a repository.

    Raises:
        Conflict: this version does not understand it.
    """
    try:
        return spaces.parse_config(meta)
    except ValueError as error:
        raise Conflict(
            f"repository {name!r}: {error}: delete it with: xcomp repo delete {name}, and index again"
        ) from None
