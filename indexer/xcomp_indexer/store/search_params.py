"""How hard a search over an index of vectors tries: the settings that embedded engine and server share.

The graph is HNSW over int8 codes; what it finds is rescored with the vectors themselves. docs/benchmarks.md has the
recall that this buys.
"""

QUANTILE = 0.99  # of the components that int8 covers; the tails are clipped
OVERSAMPLING = 2.0  # candidates by code for each result that is rescored
_USUAL = 256  # candidates that a graph search keeps
LARGE = 512  # the same in large repositories, where more lies near
_LARGE_FROM = 250_000  # points


def explored(points: int) -> int:
    """Returns how many candidates a graph search over that many points keeps (`hnsw_ef`)."""
    return LARGE if points >= _LARGE_FROM else _USUAL
