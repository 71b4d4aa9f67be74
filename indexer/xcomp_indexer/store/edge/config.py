"""Layouts of a shard in the embedded engine: as written, sealed, and with a graph.

Written points keep their payload indexes in memory and are searched exactly. Sealed points have them on disk and are
searched exactly as well. With a graph (HNSW), points are searched by int8 codes, which stay in memory; the vectors are
on disk and rescore the results. Points that are written later are searched exactly besides.

The engine searches in threads of its own, whose number is fixed for a shard. They spin for a while after every search,
so more threads than cores would take time from other work.
"""

from collections.abc import Mapping
from typing import Literal

import qdrant_edge as qe

from xcomp_indexer.store import search_params

Layout = Literal["sealed", "merged", "graph"]

_NEVER_KB = 10**12  # no graph below this size
_SEGMENTS = 4  # at most, so that a rebuild changes what is new and not everything
_NO_GRAPH = qe.HnswIndexConfig(0, 1, 1)  # no links: how the engine seals points that are searched exactly
_M = 16  # links of a point, twice as many in the lowest layer
_EF_CONSTRUCT = 100  # candidates for links
_FULL_SCAN_KB = 10_000  # of vectors that a filter leaves: fewer are compared one by one


def config_for_writes(spaces: Mapping[str, int], *, threads: int) -> qe.EdgeConfig:
    """Return the layout of a shard that is being written; `optimize` leaves it as it is."""
    return qe.EdgeConfig(
        vectors=_vectors(spaces, qe.Memory.Cached),
        optimizers=qe.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=_NEVER_KB),
        payload_memory=qe.Memory.Cold,
        max_search_threads=threads,
    )


def config_for_rebuild(spaces: Mapping[str, int], *, layout: Layout, threads: int) -> qe.EdgeConfig:
    """Return the layout that `optimize` produces: sealed, merged into one segment, or with graphs."""
    graph = layout == "graph"
    quantized = qe.ScalarQuantizationConfig(
        qe.ScalarType.Int8, quantile=search_params.QUANTILE, memory=qe.Memory.Cached
    )
    return qe.EdgeConfig(
        vectors=_vectors(spaces, qe.Memory.Cold if graph else qe.Memory.Cached),
        hnsw_config=qe.HnswIndexConfig(_M, _EF_CONSTRUCT, _FULL_SCAN_KB, max_indexing_threads=threads)
        if graph
        else _NO_GRAPH,
        quantization_config=quantized if graph else None,
        optimizers=qe.EdgeOptimizersConfig(
            default_segment_number=1 if layout == "merged" else _SEGMENTS,
            indexing_threshold=1,
            max_segment_size=_NEVER_KB,
            vacuum_min_vector_number=100,
        ),
        payload_memory=qe.Memory.Cold,
        max_search_threads=threads,
    )


def search_params_for(points: int) -> qe.SearchParams:
    """Return the parameters of a search over that many points; a shard without a graph ignores them."""
    rescored = qe.QuantizationSearchParams(ignore=False, rescore=True, oversampling=search_params.OVERSAMPLING)
    return qe.SearchParams(hnsw_ef=search_params.hnsw_ef(points), quantization=rescored)


def _vectors(spaces: Mapping[str, int], memory: qe.Memory) -> dict[str, qe.EdgeVectorParams]:
    return {
        name: qe.EdgeVectorParams(size=dimension, distance=qe.Distance.Cosine, memory=memory)
        for name, dimension in spaces.items()
    }
