"""The layers that the graphs of all networks share, as nodes of OpenVINO.

A constant shares the memory of its array, that of a mapped file included, which lives as long as the graph.
Does not depend on which network the layers belong to.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed.engine.openvino import Node, op

Array = NDArray[np.float32]  # of other numbers as well: the engine reads their own type
State = Mapping[str, Array]


def weight(array: Array) -> Node:
    """Returns a constant that shares the memory of `array`."""
    return op.constant(np.require(array, requirements=["C", "W"]), shared_memory=True)


def scalar(value: float) -> Node:
    """Returns an fp32 number."""
    return op.constant(np.float32(value))


def ints(*values: int) -> Node:
    """Returns a constant list of integers."""
    return op.constant(np.array(values, dtype=np.int64))


def affine(x: Node, matrix: Array, bias: Array | None) -> Node:  # [..., D] -> [..., D']
    """Multiplies by `matrix` `[D', D]` and adds `bias` where there is one."""
    product = op.matmul(x, weight(matrix), transpose_a=False, transpose_b=True)
    return product if bias is None else op.add(product, weight(bias))


def heads_of(x: Node, heads: int) -> Node:  # [B, T, D] -> [B, H, T, D / H]
    """Splits the last axis among the heads of an attention."""
    return op.transpose(op.reshape(x, ints(0, 0, heads, -1), special_zero=True), ints(0, 2, 1, 3))


def attend(q: Node, k: Node, v: Node, *, heads: int, bias: Node | None = None, causal: bool = False) -> Node:
    """Returns scaled dot-product attention of `[B, T, D]` each, heads joined again.

    Args:
        bias: added to the scores, broadcast to `[B, H, T, T]`.
        causal: a token sees none behind it.
    """
    split = [heads_of(x, heads) for x in (q, k, v)]
    inputs = split if bias is None else [*split, bias]
    seen = op.scaled_dot_product_attention(*inputs, causal=causal)
    return op.reshape(op.transpose(seen, ints(0, 2, 1, 3)), ints(0, 0, -1), special_zero=True)
