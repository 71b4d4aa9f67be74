"""EfficientNet-lite: pictures to probabilities of the ImageNet-1k classes.

Mobile inverted bottlenecks without squeeze-and-excitation, ReLU6 throughout (Tan & Le, arXiv:1905.11946; lite variants
in github.com/tensorflow/tpu, models/official/efficientnet/lite). Widths and kernels are read off the weights; batch
normalisation is folded into the convolutions. Knows no class names.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

State = Mapping[str, Tensor]

# Repeats and stride of the seven stages (arXiv:1905.11946, table 1); lite keeps the first and last at one block.
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
_BATCH_NORM_EPS = 1e-3
# Inputs are (pixel - 127) / 128, and 32 pixels around the crop are left out (the lite folder above).
_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0
_CROP_PADDING = 32


@dataclass(frozen=True)
class Variant:
    """A member of the family: depth multiplier and input pixels."""

    depth: float
    size: int

    @property
    def short_side(self) -> int:
        """Pixels of the short side at which the network sees a picture."""
        return self.size + _CROP_PADDING

    def strides(self) -> Iterator[int]:
        """Yields the stride of every block."""
        for stage, (repeats, stride) in enumerate(_STAGES):
            fixed = stage in (0, len(_STAGES) - 1)
            count = repeats if fixed else math.ceil(self.depth * repeats)
            yield from (stride, *[1] * (count - 1))


LITE0 = Variant(depth=1.0, size=224)
LITE1 = Variant(depth=1.1, size=240)
LITE2 = Variant(depth=1.2, size=260)


class _Unit(nn.Module):
    """A convolution with its batch normalisation folded in, padded as TensorFlow pads ("same")."""

    def __init__(self, state: State, conv: str, *, norm: str, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        gain = state[f"{norm}.weight"] * (state[f"{norm}.running_var"] + _BATCH_NORM_EPS).rsqrt()
        weight = state[f"{conv}.weight"] * gain[:, None, None, None]
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.groups = len(weight) if weight.shape[1] == 1 else 1
        self.stride, self.kernel, self.relu = stride, weight.shape[-1], relu

    def forward(self, x: Tensor) -> Tensor:  # [B, C, H, W] -> [B, C', H / stride, W / stride]
        padding = self.kernel // 2
        if self.stride == 2 and x.shape[-1] % 2 == 0:  # squares only; even sides pad one less before than after
            x, padding = functional.pad(x, (padding - 1, padding, padding - 1, padding)), 0
        x = functional.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)
        return functional.relu6(x, inplace=True) if self.relu else x


class _Block(nn.Module):
    """Expand, filter by depth, project; with a short cut where the shape allows it."""

    def __init__(self, state: State, prefix: str, *, stride: int) -> None:
        super().__init__()
        units = []
        if f"{prefix}._expand_conv.weight" in state:
            units.append(_Unit(state, f"{prefix}._expand_conv", norm=f"{prefix}._bn0"))
        units.append(_Unit(state, f"{prefix}._depthwise_conv", norm=f"{prefix}._bn1", stride=stride))
        units.append(_Unit(state, f"{prefix}._project_conv", norm=f"{prefix}._bn2", relu=False))
        self.units = nn.Sequential(*units)
        self.residual = stride == 1 and units[0].weight.shape[1] == units[-1].weight.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.units(x)
        return projected.add_(x) if self.residual else projected


class Classifier:
    """An EfficientNet-lite in memory.

    Args:
        content: the bytes of a saved state dict.
        variant: the member of the family that it belongs to.
    """

    def __init__(self, content: bytes, variant: Variant) -> None:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        blocks = (_Block(state, f"_blocks.{i}", stride=stride) for i, stride in enumerate(variant.strides()))
        self._features = nn.Sequential(
            _Unit(state, "_conv_stem", norm="_bn0", stride=2), *blocks, _Unit(state, "_conv_head", norm="_bn1")
        ).eval()
        self._weight, self._bias = state["_fc.weight"], state["_fc.bias"]
        self._size, self._short_side = variant.size, variant.short_side

    @torch.inference_mode()
    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """Returns the probability of every class, `[B, 1000]`."""
        pixels = torch.from_numpy(np.stack([self._crop(image) for image in images]))
        x = pixels.permute(0, 3, 1, 2).float().sub_(_PIXEL_MEAN).div_(_PIXEL_SCALE)  # [B, 3, H, W], channels last
        features = self._features(x).mean(dim=(2, 3))
        return functional.linear(features, self._weight, self._bias).softmax(dim=-1)

    def _crop(self, image: Image.Image) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
        side = min(image.size) * self._size / self._short_side
        left, top = (image.width - side) / 2, (image.height - side) / 2
        square = (self._size, self._size)
        box = (left, top, left + side, top + side)
        return np.asarray(image.convert("RGB").resize(square, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0))
