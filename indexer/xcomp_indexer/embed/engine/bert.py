"""Embeddings and layers of BERT (Devlin et al., arXiv:1810.04805), by the names that its releases give them."""

from xcomp_indexer.embed.engine.graph import State, ints, weight
from xcomp_indexer.embed.engine.openvino import Node, op
from xcomp_indexer.embed.engine.transformer import TransformerBlock, dense_of, first_rows, gelu, norm_of

_EPS = 1e-12  # of its layer normalisations


def bert_embeddings(state: State, input_ids: Node, prefix: str) -> Node:  # [B, T] -> [B, T, D]
    """Embeds tokens as BERT does (Devlin et al., arXiv:1810.04805), all of the first kind."""
    words = op.gather(weight(state[f"{prefix}.word_embeddings.weight"]), input_ids, ints(0))
    x = op.add(words, first_rows(state[f"{prefix}.position_embeddings.weight"], input_ids))
    x = op.add(x, weight(state[f"{prefix}.token_type_embeddings.weight"][:1]))
    return norm_of(state, f"{prefix}.LayerNorm", eps=_EPS)(x)


def bert_block(state: State, prefix: str, *, heads: int) -> TransformerBlock:
    """Returns a layer of BERT."""
    attention = f"{prefix}.attention"
    return TransformerBlock(
        q=dense_of(state, f"{attention}.self.query"),
        k=dense_of(state, f"{attention}.self.key"),
        v=dense_of(state, f"{attention}.self.value"),
        out=dense_of(state, f"{attention}.output.dense"),
        norm1=norm_of(state, f"{attention}.output.LayerNorm", eps=_EPS),
        norm2=norm_of(state, f"{prefix}.output.LayerNorm", eps=_EPS),
        up=dense_of(state, f"{prefix}.intermediate.dense"),
        down=dense_of(state, f"{prefix}.output.dense"),
        heads=heads,
        activation=gelu,
    )
