"""Partial LoRA (Dong et al. 2024, arXiv 2401.16420, section 3.2): low-rank parts that only the rows of pictures pass.

The one idea: while the decoder reads a prompt, a mask says which positions are pictures; a linear adds its low-rank
part to those rows and to no others, and costs nothing where there are none.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class ImageRows:
    """Which positions of the running forward pass belong to pictures; shared by all linears of a decoder."""

    def __init__(self) -> None:
        self._mask: Tensor | None = None
        self._last: tuple[Tensor, Tensor] | None = None
        self._last_down: tuple[Tensor, Tensor, Tensor] | None = None

    @contextmanager
    def marked(self, mask: Tensor) -> Iterator[None]:
        """Marks positions [B, T] for forward passes of that length; passes of one position are answers, all text."""
        self._mask = mask if bool(mask.any()) else None
        try:
            yield
        finally:
            self._mask = self._last = self._last_down = None

    def mask_for(self, x: Tensor) -> Tensor | None:
        """The mask of this pass as [B, T], or None where no position is a picture's."""
        if self._mask is None or (x.shape[1] == 1 and self._mask.shape[1] != 1):
            return None
        if x.shape[1] != self._mask.shape[1]:
            raise AssertionError(f"a pass of {x.shape[1]} positions, but {self._mask.shape[1]} are marked")
        return self._mask.to(x.device).expand(x.shape[0], -1)

    def gather(self, x: Tensor, mask: Tensor) -> Tensor:
        """The pictures' rows of x, [N, D]; linears that read the same x share them."""
        if self._last is None or self._last[0] is not x:
            self._last = (x, x[mask])
        return self._last[1]

    def down(self, rows: Tensor, weight: Tensor) -> Tensor:
        """A x, [N, rank]; linears that share their A, as queries, keys and values do, compute it once."""
        last = self._last_down
        if last is None or last[0] is not rows or last[1] is not weight:
            self._last_down = last = (rows, weight, nn.functional.linear(rows, weight))
        return last[2]


class PLoRALinear(nn.Module):
    """A linear with a low-rank part for pictures: y = W x + b, and + scale * B A x where the mask is true."""

    def __init__(self, linear: nn.Linear, rank: int, *, scale: float, rows: ImageRows) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.plora_a = nn.Parameter(torch.empty(rank, linear.in_features))
        self.plora_b = nn.Parameter(torch.empty(linear.out_features, rank))
        self._scale, self._rows = scale, rows

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, in] to [B, T, out]."""
        y = nn.functional.linear(x, self.weight, self.bias)
        mask = self._rows.mask_for(x)
        if mask is not None:
            low = self._rows.down(self._rows.gather(x, mask), self.plora_a)
            y[mask] += self._scale * nn.functional.linear(low, self.plora_b)
        return y
