"""A BERT encoder whose token vectors are added up, as a graph: token ids to sums.

Devlin et al., arXiv:1810.04805; averaging over tokens: Reimers & Gurevych, arXiv:1908.10084.
"""

import numpy as np

from xcomp_indexer.embed.engine.graph import State, attend, ints, layer_norm, linear, scalar, weight
from xcomp_indexer.embed.engine.openvino import Graph, Node, op

_LAYERS, _HEADS, _EPS = 6, 12, 1e-12  # of all-MiniLM-L6-v2
_NEVER = -1e9  # added to the score of a token that is padding


def build(state: State) -> Graph:
    """Returns the graph of all-MiniLM-L6-v2.

    Its inputs are `input_ids` `[B, T]` in i32 and `attention_mask` `[B, T]` in fp32, 1 for a token and 0 for padding;
    its output `[B, 384]` is the sum of the vectors of all tokens.
    """
    input_ids = op.parameter([-1, -1], np.int32, name="input_ids")
    mask = op.parameter([-1, -1], np.float32, name="attention_mask")
    bias = op.multiply(op.subtract(scalar(1.0), op.unsqueeze(mask, ints(1, 2))), scalar(_NEVER))  # [B, 1, 1, T]
    x = _embed(input_ids, state)
    for index in range(_LAYERS):
        layer = f"encoder.layer.{index}"
        q, k, v = (linear(x, state, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        seen = linear(attend(q, k, v, heads=_HEADS, bias=bias), state, f"{layer}.attention.output.dense")
        x = layer_norm(op.add(seen, x), state, f"{layer}.attention.output.LayerNorm", eps=_EPS)
        hidden = op.gelu(linear(x, state, f"{layer}.intermediate.dense"), "erf")
        x = layer_norm(
            op.add(linear(hidden, state, f"{layer}.output.dense"), x), state, f"{layer}.output.LayerNorm", eps=_EPS
        )
    sums = op.reduce_sum(op.multiply(x, op.unsqueeze(mask, ints(2))), ints(1), keep_dims=False)
    return Graph([sums], [input_ids, mask], "minilm")


def _embed(input_ids: Node, state: State) -> Node:  # [B, T] -> [B, T, D]
    words = op.gather(weight(state["embeddings.word_embeddings.weight"]), input_ids, ints(0))
    length = op.gather(op.shape_of(input_ids), ints(1), ints(0))
    positions = op.slice(weight(state["embeddings.position_embeddings.weight"]), ints(0), length, ints(1), ints(0))
    kind = weight(state["embeddings.token_type_embeddings.weight"][:1])
    return layer_norm(op.add(op.add(words, positions), kind), state, "embeddings.LayerNorm", eps=_EPS)
