"""all-MiniLM-L6-v2 as a graph: token ids to the sum of the vectors of all tokens.

A BERT encoder (Devlin et al., arXiv:1810.04805) whose token vectors are averaged (Reimers & Gurevych,
arXiv:1908.10084); the mean has the direction of the sum.
"""

import numpy as np

from xcomp_indexer.embed.engine.bert import bert_block, bert_embeddings
from xcomp_indexer.embed.engine.graph import State, ints
from xcomp_indexer.embed.engine.openvino import Graph, op
from xcomp_indexer.embed.engine.transformer import hide_padding

_LAYERS, _HEADS = 6, 12


def build(state: State) -> Graph:
    """Returns the graph of the tensors of its released file.

    Inputs: `input_ids` `[B, T]` in i32, `attention_mask` `[B, T]` in fp32, 0 for padding. Output: sums `[B, 384]`.
    """
    input_ids = op.parameter([-1, -1], np.int32, name="input_ids")
    mask = op.parameter([-1, -1], np.float32, name="attention_mask")
    bias = hide_padding(mask)
    x = bert_embeddings(state, input_ids, "embeddings")
    for index in range(_LAYERS):
        x = bert_block(state, f"encoder.layer.{index}", heads=_HEADS).post_norm(x, bias=bias)
    sums = op.reduce_sum(op.multiply(x, op.unsqueeze(mask, ints(2))), ints(1), keep_dims=False)
    return Graph([sums], [input_ids, mask], "minilm")
