"""Settings of a search over a vector index, shared by the embedded engine and the server.

The graph is HNSW over int8 codes; its results are rescored with the vectors. docs/benchmarks.md has the recall.
"""

QUANTILE = 0.99  # of the components that int8 covers; the tails are clipped
OVERSAMPLING = 2.0  # candidates by code for each result that is rescored
_USUAL = 256  # candidates that a graph search keeps
LARGE = 512  # the same in large repositories
_LARGE_FROM = 250_000  # points


def hnsw_ef(points: int) -> int:
    """Return the number of candidates that a graph search over that many points keeps."""
    return LARGE if points >= _LARGE_FROM else _USUAL
