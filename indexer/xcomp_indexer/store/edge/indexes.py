"""The payload indexes of an embedded shard: made once it is large enough for them to matter.

Each costs several trips to the disk, all of them seconds on a busy one, and a filter over a thousand points needs none.
They take some 4 kB of memory a point in what is being written, and are read from the disk once that is sealed.
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

    def __init__(self, held: ShardHandle, indexes: Mapping[str, IndexKind], *, index_from: int) -> None:
        self._held, self._indexes, self._index_from = held, indexes, index_from
        self._done = not indexes

    def index(self) -> None:
        """Makes the missing indexes, if there are points and room enough; the next opening makes what is left."""
        if self._done:
            return
        with self._held.writers:
            with self._held.reading() as engine:
                known = engine.info()
            if known.points_count < self._index_from or not has_room(self._held.path):
                return
            for key in sorted(self._indexes.keys() - known.payload_schema.keys()):
                self._held.reshape(qe.UpdateOperation.create_field_index(key, _INDEX[self._indexes[key]]))
            self._done = True
