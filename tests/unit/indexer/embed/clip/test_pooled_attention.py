"""Attention for one token, held against torch's own for all; weights are large enough to make it sharp."""

import pytest
import torch

from xcomp_indexer.embed.clip import pooled_attention

ROWS, TOKENS, WIDTH, HEADS = 3, 7, 32, 4


@pytest.fixture
def whole() -> torch.nn.MultiheadAttention:
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval().requires_grad_(requires_grad=False)
    torch.nn.init.normal_(attention.in_proj_weight, std=0.4)
    torch.nn.init.normal_(attention.in_proj_bias)  # torch begins with zeros, which hide how a bias is treated
    return attention


@pytest.mark.parametrize("masked", [False, True])
def test_one_token_attends_as_among_all(whole: torch.nn.MultiheadAttention, masked: bool) -> None:
    tokens = torch.randn(ROWS, TOKENS, WIDTH)
    rows, at = torch.arange(ROWS), torch.tensor([0, 3, 6])
    later = torch.full((TOKENS, TOKENS), float("-inf")).triu_(1) if masked else torch.zeros(TOKENS, TOKENS)
    expected = whole(tokens, tokens, tokens, attn_mask=later, need_weights=False)[0][rows, at]
    seen = pooled_attention.attend(
        tokens[rows, at],
        tokens,
        weights=whole.in_proj_weight.chunk(3),
        biases=whole.in_proj_bias.chunk(3),
        heads=HEADS,
        mask=later[at, None] if masked else None,
    )
    assert (whole.out_proj(seen) - expected).abs().max() < 1e-5
    assert expected.abs().mean() > 0.1, "something to compare"
