"""The rotary tables of the released fp16 runtime of version 1.0, for comparisons with its outputs.

The release multiplied positions and frequencies in half precision, so its angles drift (0.6 rad at position 2047).
"""

import torch
from torch import Tensor, nn


class HalfPrecisionRotary(nn.Module):
    """Replaces the `rotary_emb` of a Llama."""

    def __init__(self, *, head_dim: int, theta: float) -> None:
        super().__init__()
        exponents = torch.arange(0, head_dim, 2).float() / head_dim
        self.register_buffer("inv_freq", (1.0 / theta**exponents).half(), persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Returns cos and sin, [B, T, head_dim], in the dtype of x."""
        frequencies = self.get_buffer("inv_freq").to(x.device)
        angles = position_ids[..., None].half() * frequencies  # [B, T, head_dim / 2], rounded to fp16
        both = torch.cat((angles, angles), dim=-1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)
