"""Partial LoRA (Dong et al. 2024, arXiv 2401.16420, section 3.2): low-rank parts that only the rows of images pass.

While the decoder reads a prompt, a mask says which positions are images. A linear adds its low-rank part to those rows
only, and costs nothing extra without images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

RowIndex = tuple[Tensor, Tensor]  # batch and position of every row of an image


@dataclass
class _Pass:
    """One forward pass: the rows of images, and the products that the linears of a layer share."""

    mask: Tensor
    indices: dict[tuple[int, torch.device], RowIndex] = field(default_factory=dict)
    gathered: tuple[Tensor, Tensor] | None = None
    lowered: tuple[Tensor, Tensor, Tensor] | None = None


class ImageRows:
    """The positions of the running forward pass that belong to images; shared by all linears of a decoder."""

    def __init__(self) -> None:
        self._pass: _Pass | None = None

    @contextmanager
    def mark(self, mask: Tensor) -> Iterator[None]:
        """Marks positions [B, T] for passes of that length; a pass of one position reads an answer, which is text."""
        self._pass = _Pass(mask) if bool(mask.any()) else None
        try:
            yield
        finally:
            self._pass = None

    def lower(self, x: Tensor, weight: Tensor) -> tuple[RowIndex, Tensor] | None:
        """Returns the rows of images in x [B, T, D], and A x of these rows, [N, rank]; None without images.

        Linears that read the same x gather its rows once. Those that also share A, as queries, keys and values do,
        multiply once.
        """
        now = self._pass
        if now is None or (x.shape[1] == 1 and now.mask.shape[1] != 1):
            return None
        index = _row_index(now, x)
        if now.gathered is None or now.gathered[0] is not x:
            now.gathered = (x, x[index])
        rows = now.gathered[1]
        if now.lowered is None or now.lowered[0] is not rows or now.lowered[1] is not weight:
            now.lowered = (rows, weight, nn.functional.linear(rows, weight))
        return index, now.lowered[2]


class PLoRALinear(nn.Module):
    """A linear with a low-rank part for images: y = W x + b, plus scale * B A x where the mask is true."""

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
            index, low = lowered
            y[index] += self._scale * nn.functional.linear(low, self.plora_b)
        return y


def _row_index(now: _Pass, x: Tensor) -> RowIndex:
    # Computed once for a pass: on a GPU, the search for true positions waits for all work before it.
    batch, length = x.shape[:2]
    assert length == now.mask.shape[1], f"a pass of {length} positions, but {now.mask.shape[1]} are marked"
    key = (batch, x.device)
    if key not in now.indices:
        rows, positions = now.mask.expand(batch, -1).nonzero(as_tuple=True)
        now.indices[key] = (rows.to(x.device), positions.to(x.device))
    return now.indices[key]
