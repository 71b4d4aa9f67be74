"""Attention for the one token that a tower pools, in its last block, where nobody reads the others.

Keys and values are linear in the tokens, so that their weights can as well be applied to what stands on the other side:
q·(Wk x) is (Wkᵀ q)·x, and Σ a (Wv x + b) is Wv (Σ a x) + b. With one query, then, no token needs a key or a value,
and the block costs next to nothing. The vectors differ from the library's by rounding alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def attend(
    token: Tensor,
    tokens: Tensor,
    *,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    heads: int,
    mask: Tensor | None = None,
) -> Tensor:
    """Returns what one token of each row sees in all of its row, before the output projection: `[B, D]`.

    Args:
        token: those that ask, `[B, D]`.
        tokens: those that are seen, `[B, T, D]`.
        weights: of queries, keys and values, `[D, D]` each.
        biases: of the same, `[D]` each.
        heads: among which D is divided.
        mask: as `scaled_dot_product_attention` takes it, `[B, 1, T]`.
    """
    (of_queries, of_keys, of_values), (query_bias, _, value_bias) = weights, biases
    shape = (heads, -1, tokens.shape[-1])  # [H, K, D], each head K of the D rows
    query = functional.linear(token, of_queries, query_bias).view(len(token), heads, -1)  # [B, H, K]
    # The bias of the keys adds the same to all scores of a query, which softmax takes away again.
    probe = torch.einsum("bhk,hkd->bhd", query, of_keys.view(shape))
    scale = query.shape[-1] ** -0.5
    seen = functional.scaled_dot_product_attention(probe, tokens, tokens, attn_mask=mask, scale=scale)  # [B, H, D]
    return torch.einsum("bhd,hkd->bhk", seen, of_values.view(shape)).flatten(1) + value_bias
