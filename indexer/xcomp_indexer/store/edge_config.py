"""How the embedded engine lays a shard out: as written, and as rebuilt for searching.

A written shard is searched exactly. A rebuilt one has a graph (HNSW) over int8 codes, which stay in memory; the vectors
themselves lie on disk and rescore what the graph finds. What is written later is searched exactly beside it.

The engine searches in threads of its own, which a shard keeps to for good. They turn idle rounds after every search, so
that more of them than cores would take the time of whoever is to work next.
"""

import os
from collections.abc import Mapping

import qdrant_edge as qe

from xcomp_indexer.store import effort

_NEVER_KB = 10**12  # no graph below this size
_GRAPHS = 4  # up to so many lie beside each other, so that a rebuild reads what is new and not everything
_M = 16  # links of a point, and twice as many at the ground
_EF_CONSTRUCT = 100  # candidates for links
_FULL_SCAN_KB = 10_000  # of vectors that a filter leaves: fewer are compared one by one


def cores() -> int:
    """Returns how many threads can run at once in this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def written(spaces: Mapping[str, int], *, threads: int) -> qe.EdgeConfig:
    """Returns the layout of a shard that is being filled. `optimize` would build no graph in it."""
    return qe.EdgeConfig(
        vectors=_vectors(spaces, qe.Memory.Cached),
        optimizers=qe.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=_NEVER_KB),
        payload_memory=qe.Memory.Cold,
        max_search_threads=threads,
    )


def rebuilt(spaces: Mapping[str, int], *, graph: bool, threads: int) -> qe.EdgeConfig:
    """Returns the layout that `optimize` is to bring a shard to; without a graph it only drops what was removed."""
    optimizers = qe.EdgeOptimizersConfig(
        default_segment_number=_GRAPHS if graph else 1,
        indexing_threshold=1 if graph else _NEVER_KB,
        max_segment_size=_NEVER_KB,
        vacuum_min_vector_number=100,
    )
    if not graph:
        vectors = _vectors(spaces, qe.Memory.Cached)
        return qe.EdgeConfig(vectors=vectors, optimizers=optimizers, max_search_threads=threads)
    return qe.EdgeConfig(
        vectors=_vectors(spaces, qe.Memory.Cold),
        hnsw_config=qe.HnswIndexConfig(_M, _EF_CONSTRUCT, _FULL_SCAN_KB, max_indexing_threads=threads),
        quantization_config=qe.ScalarQuantizationConfig(
            qe.ScalarType.Int8, quantile=effort.QUANTILE, memory=qe.Memory.Cached
        ),
        optimizers=optimizers,
        max_search_threads=threads,
    )


def search(points: int) -> qe.SearchParams:
    """Returns how a search over that many points goes about; a shard without a graph does not mind."""
    rescored = qe.QuantizationSearchParams(ignore=False, rescore=True, oversampling=effort.OVERSAMPLING)
    return qe.SearchParams(hnsw_ef=effort.explored(points), quantization=rescored)


def _vectors(spaces: Mapping[str, int], memory: qe.Memory) -> dict[str, qe.EdgeVectorParams]:
    return {
        name: qe.EdgeVectorParams(size=dimension, distance=qe.Distance.Cosine, memory=memory)
        for name, dimension in spaces.items()
    }
