"""How the embedded engine lays a shard out: as written, sealed, and with a graph.

What is written keeps its payload indexes in memory. Sealed, it has them on disk, and is searched exactly, too. With a
graph (HNSW), it is searched by int8 codes, which stay in memory; the vectors themselves lie on disk and rescore what
the graph finds. What is written later is searched exactly beside either.

The engine searches in threads of its own, which a shard keeps to for good. They turn idle rounds after every search, so
that more of them than cores would take the time of whoever is to work next.
"""

from collections.abc import Mapping
from typing import Literal

import qdrant_edge as qe

from xcomp_indexer.store import search_params

Layout = Literal["sealed", "merged", "graph"]

_NEVER_KB = 10**12  # no graph below this size
_SEGMENTS = 4  # up to so many lie beside each other, so that a rebuild changes what is new and not everything
_NO_GRAPH = qe.HnswIndexConfig(0, 1, 1)  # no links: the engine's way to seal what is searched one by one
_M = 16  # links of a point, and twice as many at the ground
_EF_CONSTRUCT = 100  # candidates for links
_FULL_SCAN_KB = 10_000  # of vectors that a filter leaves: fewer are compared one by one


def written(spaces: Mapping[str, int], *, threads: int) -> qe.EdgeConfig:
    """Returns the layout of a shard that is being filled. `optimize` would not touch it."""
    return qe.EdgeConfig(
        vectors=_vectors(spaces, qe.Memory.Cached),
        optimizers=qe.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=_NEVER_KB),
        payload_memory=qe.Memory.Cold,
        max_search_threads=threads,
    )


def rebuilt(spaces: Mapping[str, int], *, layout: Layout, threads: int) -> qe.EdgeConfig:
    """Returns what `optimize` is to bring a shard to: sealed, all of it in one segment, or with graphs."""
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


def search(points: int) -> qe.SearchParams:
    """Returns how a search over that many points goes about; a shard without a graph does not mind."""
    rescored = qe.QuantizationSearchParams(ignore=False, rescore=True, oversampling=search_params.OVERSAMPLING)
    return qe.SearchParams(hnsw_ef=search_params.explored(points), quantization=rescored)


def _vectors(spaces: Mapping[str, int], memory: qe.Memory) -> dict[str, qe.EdgeVectorParams]:
    return {
        name: qe.EdgeVectorParams(size=dimension, distance=qe.Distance.Cosine, memory=memory)
        for name, dimension in spaces.items()
    }
