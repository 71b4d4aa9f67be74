"""Unpacks 4-bit linears of AutoGPTQ to plain weights.

Format: the AutoGPTQ project, `qlinear_cuda_old.py` of its 0.4 releases: eight 4-bit numbers to an int32, lowest bits
first, along the inputs for weights and along the outputs for zero points, which are stored less one.
"""

import torch
from torch import Tensor

_BITS = 4
_PER_WORD = 32 // _BITS
_MASK = (1 << _BITS) - 1


def unpack(qweight: Tensor, qzeros: Tensor, *, scales: Tensor, g_idx: Tensor) -> Tensor:
    """Returns the weight as [out, in] in fp32.

    Args:
        qweight: int32 [in / 8, out].
        qzeros: int32 [groups, out / 8].
        scales: [groups, out].
        g_idx: group of every input, [in].
    """
    shifts = torch.arange(0, 32, _BITS, dtype=torch.int32)
    levels = (qweight[:, None, :] >> shifts[None, :, None]) & _MASK  # [in / 8, 8, out]
    zeros = (qzeros[:, :, None] >> shifts) & _MASK  # [groups, out / 8, 8]
    group = g_idx.long()
    zero = (zeros.reshape(scales.shape) + 1)[group]  # [in, out]
    weight = scales.float()[group] * (levels.reshape(len(g_idx), -1) - zero).float()
    return weight.T.contiguous()
