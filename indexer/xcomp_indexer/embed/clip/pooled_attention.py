"""A fast last block: only the one token that a tower pools is computed, because no later layer reads the others.

Keys and values are linear in the tokens, so the weights can be moved to the other side of the product:
q·(Wk x) is (Wkᵀ q)·x, and Σ a (Wv x + b) is Wv (Σ a x) + b. With a single query, no token needs a key or a value of its
own. The vectors differ from those of the library by rounding only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.nn import Module, ModuleList, functional

TransformerBlock = TypeVar("TransformerBlock", bound=Module)


@dataclass(frozen=True)
class BlockParts:
    """The parts of a transformer block, as its library builds it."""

    norm: Callable[[Tensor], Tensor]  # of the tokens, before attention
    weights: Sequence[Tensor]  # of queries, keys and values, [D, D] each
    biases: Sequence[Tensor]  # of queries, keys and values, [D] each
    heads: int  # among which D is divided
    finish: Callable[[Tensor, Tensor], Tensor]  # residual token and attended token to output, [B, D] each


class PooledBlock(Module):
    """A block that computes one token of each row.

    As a module of its tower it computes the first token. `compute_token` is for any other.
    """

    def __init__(self, block: Module, parts: Callable[[Module], BlockParts]) -> None:
        super().__init__()
        self.block, self._parts = block, parts

    def forward(self, x: Tensor, attention_mask: Tensor | None = None, attn_mask: Tensor | None = None) -> Tensor:
        """Computes the first token of each row: `[B, T, D]` to `[B, 1, D]`."""
        assert attn_mask is None  # open_clip's name; its image towers have no mask
        mask = None if attention_mask is None else attention_mask[:, 0, :1]  # [B, 1, T, T] -> [B, 1, T]
        first = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.compute_token(x, first, mask=mask)[:, None]

    def compute_token(self, x: Tensor, index: Tensor, *, mask: Tensor | None) -> Tensor:
        """Computes the token at one index of each row: `[B, T, D]` to `[B, D]`."""
        parts, rows = self._parts(self.block), torch.arange(len(x), device=x.device)
        tokens = parts.norm(x)
        attended = attend(
            tokens[rows, index], tokens, weights=parts.weights, biases=parts.biases, heads=parts.heads, mask=mask
        )
        return parts.finish(x[rows, index], attended)


def fast_last_block(blocks: ModuleList, parts: Callable[[TransformerBlock], BlockParts]) -> None:
    """Replaces the last block of a tower by one that computes the pooled token only.

    Args:
        blocks: those of the tower.
        parts: takes a block of this tower apart.
    """
    blocks[-1] = PooledBlock(blocks[-1], cast("Callable[[Module], BlockParts]", parts))


def attend(
    token: Tensor,
    tokens: Tensor,
    *,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    heads: int,
    mask: Tensor | None = None,
) -> Tensor:
    """Returns what one token of each row attends to, before the output projection: `[B, D]`.

    Args:
        token: the queries, `[B, D]`.
        tokens: all tokens of each row, `[B, T, D]`.
        weights: of queries, keys and values, `[D, D]` each.
        biases: of the same, `[D]` each.
        heads: among which D is divided.
        mask: as `scaled_dot_product_attention` takes it, `[B, 1, T]`.
    """
    (query_weight, key_weight, value_weight), (query_bias, _, value_bias) = weights, biases
    shape = (heads, -1, tokens.shape[-1])  # [H, K, D], each head K of the D rows
    query = functional.linear(token, query_weight, query_bias).view(len(token), heads, -1)  # [B, H, K]
    # The bias of the keys adds the same number to all scores of a query, and softmax ignores it.
    probe = torch.einsum("bhk,hkd->bhd", query, key_weight.view(shape))
    scale = query.shape[-1] ** -0.5
    attended = functional.scaled_dot_product_attention(probe, tokens, tokens, attn_mask=mask, scale=scale)  # [B, H, D]
    return torch.einsum("bhd,hkd->bhk", attended, value_weight.view(shape)).flatten(1) + value_bias
