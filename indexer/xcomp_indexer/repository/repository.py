"""An open repository: its store, the record of its spaces, and who may work on it at once.

Which repositories there are, and how they are opened, is the library's business.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from xcomp_indexer.repository import spaces
from xcomp_indexer.repository.spaces import RepositoryConfig, Space
from xcomp_indexer.store import Meta, Store
from xcomp_protos.errors import Conflict

RECORD_S = 2  # after so long a record is read again: another server may have switched spaces of the same store


@dataclass(eq=False)
class Repository:
    """An open repository. Two are the same only if they are one object: a name may be dropped and made again."""

    name: str
    store: Store
    record: RepositoryConfig
    ingesting: threading.Lock = field(default_factory=threading.Lock)  # one ingest at a time
    filling: threading.Lock = field(default_factory=threading.Lock)  # one space at a time is filled
    placing: threading.Lock = field(default_factory=threading.Lock)  # of two uploads of one content the second finds it
    writing: threading.Lock = field(default_factory=threading.Lock)  # held from reading a point until it is rewritten
    read_at: float = field(default_factory=time.monotonic)  # when the record was
    _rewriting: threading.Lock = field(default_factory=threading.Lock)  # held while the record is read or changed

    @property
    def profile(self) -> str:
        """The name or spelling of the profile that it was made with."""
        return self.record.profile

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The spaces that answer, in the order in which they are tried."""
        record = self.record
        return tuple(record.spaces[name] for name in record.active)

    @property
    def held(self) -> tuple[Space, ...]:
        """All spaces, whose vectors every new image gets; those that answer first."""
        record = self.record
        others = sorted(record.spaces.keys() - set(record.active))
        return tuple(record.spaces[name] for name in (*record.active, *others))

    @property
    def image_size(self) -> int:
        """Pixels that the largest preprocessing of its spaces reads."""
        return max(space.image_size for space in self.held)

    def rewrite(self, change: Callable[[RepositoryConfig], RepositoryConfig]) -> None:
        """Changes the record, in one step."""
        with self._rewriting:
            record = change(read_config(self.name, self.store.meta()))
            self.store.set_meta(record.write())
            self.record, self.read_at = record, time.monotonic()

    def reread(self) -> None:
        """Reads the record again if that was a while ago and nobody else is at it."""
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
