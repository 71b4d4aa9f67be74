"""How near two computations of the same numbers must be.

A processor adds up a product in the order of its own vector units, and chooses that order by size and alignment. So
another processor, another batch or another copy of the weights gives values that differ by rounding. Equal is only what
was stored and read back, or what one process computes twice in the same way.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from numpy.typing import ArrayLike

ROUNDING = 1e-5  # of float32 values around 1 that passed a network
ELEMENTWISE = 1e-6  # of those that were only scaled, or were summed once


def assert_close(found: ArrayLike, expected: ArrayLike, *, atol: float = ROUNDING) -> None:
    """Fails where two arrays differ in shape, or a value by more than `atol`."""
    assert np.shape(found) == np.shape(expected)  # numpy would stretch one to the other
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=atol)


def assert_alike(found: Message, expected: Message) -> None:
    """Fails where two messages differ: a fraction by more than rounding, anything else at all."""
    mine, other = dict(_leaves(found)), dict(_leaves(expected))
    fractions = [place for place, value in other.items() if isinstance(value, float)]
    assert [mine.pop(place, None) for place in fractions] == pytest.approx(
        [other.pop(place) for place in fractions], abs=ELEMENTWISE
    )
    assert mine == other


def _leaves(message: Message) -> Iterator[tuple[str, object]]:
    """All values of a message, each with the path to it."""
    waiting: list[tuple[str, object]] = [("", MessageToDict(message, always_print_fields_with_no_presence=True))]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{place}.{key}", each) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}.{number}", each) for number, each in enumerate(value)]
        else:
            yield place, value
