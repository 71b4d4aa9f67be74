"""The payload indexes of an embedded shard, created when it is large enough to need them.

Creating them writes to the disk several times each, which takes seconds on a busy one; a filter over a thousand points
needs no index. They take some 4 kB of memory for each unsealed point; those of sealed points are read from the disk.
"""

from collections.abc import Mapping

import qdrant_edge as qe

from xcomp_indexer.store import IndexKind
from xcomp_indexer.store.edge.shard import ShardHandle, has_room

_Index = qe.KeywordIndexParams | qe.IntegerIndexParams | qe.FloatIndexParams | qe.DatetimeIndexParams
_INDEX: Mapping[IndexKind, _Index] = {
    "keyword": qe.KeywordIndexParams(memory=qe.Memory.Cold),
    "integer": qe.IntegerIndexParams(lookup=True, range=True, memory=qe.Memory.Cold),
    "float": qe.FloatIndexParams(memory=qe.Memory.Cold),
    "datetime": qe.DatetimeIndexParams(memory=qe.Memory.Cold),
}


class Fields:
    """The payload keys of a repository that get an index."""

    def __init__(self, handle: ShardHandle, indexes: Mapping[str, IndexKind], *, index_from: int) -> None:
        self._handle, self._indexes, self._index_from = handle, indexes, index_from
        self._done = not indexes

    def index(self) -> None:
        """Create the missing indexes if there are enough points and room; opening the repository creates the rest."""
        if self._done:
            return
        with self._handle.writers:
            with self._handle.use_engine() as engine:
                known = engine.info()
            if known.points_count < self._index_from or not has_room(self._handle.path):
                return
            for key in sorted(self._indexes.keys() - known.payload_schema.keys()):
                self._handle.reshape(qe.UpdateOperation.create_field_index(key, _INDEX[self._indexes[key]]))
            self._done = True
