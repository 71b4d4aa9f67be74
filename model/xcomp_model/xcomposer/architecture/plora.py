"""Partial LoRA (Dong et al. 2024, arXiv 2401.16420, section 3.2): low-rank parts that only the rows of pictures pass.

The one idea: while the decoder reads a prompt, a mask says which positions are pictures; a linear adds its low-rank
part to those rows and to no others, and costs nothing where there are none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Where = tuple[Tensor, Tensor]  # batch and position of every row of a picture


@dataclass
class _Pass:
    """One forward pass: where the pictures are, and what the linears of a layer share of it."""

    mask: Tensor
    where: dict[tuple[int, torch.device], Where] = field(default_factory=dict)
    gathered: tuple[Tensor, Tensor] | None = None
    lowered: tuple[Tensor, Tensor, Tensor] | None = None


class ImageRows:
    """Which positions of the running forward pass belong to pictures; shared by all linears of a decoder."""

    def __init__(self) -> None:
        self._pass: _Pass | None = None

    @contextmanager
    def marked(self, mask: Tensor) -> Iterator[None]:
        """Marks positions [B, T] for forward passes of that length; passes of one position are answers, all text."""
        self._pass = _Pass(mask) if bool(mask.any()) else None
        try:
            yield
        finally:
            self._pass = None

    def lower(self, x: Tensor, weight: Tensor) -> tuple[Where, Tensor] | None:
        """Returns where the pictures of x [B, T, D] are, and A x of their rows, [N, rank]; None where there are none.

        Linears that read the same x gather its rows once; those that share their A as well, as queries, keys and
        values do, multiply once.
        """
        now = self._pass
        if now is None or (x.shape[1] == 1 and now.mask.shape[1] != 1):
            return None
        where = _where(now, x)
        if now.gathered is None or now.gathered[0] is not x:
            now.gathered = (x, x[where])
        rows = now.gathered[1]
        if now.lowered is None or now.lowered[0] is not rows or now.lowered[1] is not weight:
            now.lowered = (rows, weight, nn.functional.linear(rows, weight))
        return where, now.lowered[2]


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
        lowered = self._rows.lower(x, self.plora_a)
        if lowered is not None:
            where, low = lowered
            y[where] += self._scale * nn.functional.linear(low, self.plora_b)
        return y


def _where(now: _Pass, x: Tensor) -> Where:
    # Found once for a pass: on a GPU, looking for true positions waits for everything before it.
    batch, length = x.shape[:2]
    assert length == now.mask.shape[1], f"a pass of {length} positions, but {now.mask.shape[1]} are marked"
    key = (batch, x.device)
    if key not in now.where:
        rows, positions = now.mask.expand(batch, -1).nonzero(as_tuple=True)
        now.where[key] = (rows.to(x.device), positions.to(x.device))
    return now.where[key]
