"""How near two computations of the same numbers must be.

A processor adds up a product in the order of its own vector units, and chooses that order by size and alignment. So
another processor, another batch or another copy of the weights gives values that differ by rounding. Equal is only what
was stored and read back, or what one process computes twice in the same way.
"""

import numpy as np
from numpy.typing import ArrayLike

ROUNDING = 1e-5  # of float32 values around 1 that passed a network
ELEMENTWISE = 1e-6  # of those that were only scaled, or were summed once


def assert_close(found: ArrayLike, expected: ArrayLike, *, atol: float = ROUNDING) -> None:
    """Fails where two arrays differ in shape, or a value by more than `atol`."""
    assert np.shape(found) == np.shape(expected)  # numpy would stretch one to the other
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
