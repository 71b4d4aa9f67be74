"""EfficientNet-lite: images to probabilities of the ImageNet-1k classes.

Mobile inverted bottlenecks without squeeze-and-excitation, ReLU6 throughout (Tan & Le, arXiv:1905.11946; lite variants
in github.com/tensorflow/tpu, models/official/efficientnet/lite). Widths and kernels are those of the weights; batch
normalisation is folded into the convolutions. The whole image is read, not a crop, and every position of the last
feature map is classified as well, because photos show several things. Does not depend on the names of the classes.
"""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from xcomp_indexer.images.decode import full_size

State = Mapping[str, Tensor]

# Repeats and stride of the seven stages (arXiv:1905.11946, table 1); lite keeps the first and last at one block.
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
_BATCH_NORM_EPS = 1e-3
# Inputs are (pixel - 127) / 128 (the lite folder above).
_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0
# Longest side, in short sides. A longer panorama is scaled down further, not cropped.
_MAX_ASPECT = 3
# With fewer pixels the feature map is empty.
_MIN_PIXELS = 32


@dataclass(frozen=True)
class Variant:
    """A member of the family: depth multiplier, and pixels of the short side of its input."""

    depth: float
    size: int

    def strides(self) -> Iterator[int]:
        """Yields the stride of every block."""
        for stage, (repeats, stride) in enumerate(_STAGES):
            fixed = stage in (0, len(_STAGES) - 1)
            count = repeats if fixed else math.ceil(self.depth * repeats)
            yield from (stride, *[1] * (count - 1))


LITE0 = Variant(depth=1.0, size=224)
LITE2 = Variant(depth=1.2, size=260)


class _Unit(nn.Module):
    """A convolution with its batch normalisation folded in, padded as TensorFlow pads ("same")."""

    def __init__(self, state: State, conv: str, *, norm: str, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        gain = state[f"{norm}.weight"] * (state[f"{norm}.running_var"] + _BATCH_NORM_EPS).rsqrt()
        weight = state[f"{conv}.weight"] * gain[:, None, None, None]
        # Pixels come with channels last, which is a third faster than channels first on a CPU.
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.groups = len(weight) if weight.shape[1] == 1 else 1
        self.stride, self.kernel, self.relu = stride, weight.shape[-1], relu

    def forward(self, x: Tensor) -> Tensor:  # [B, C, H, W] -> [B, C', H / stride, W / stride]
        padding = self.kernel // 2
        if self.stride == 2:  # an even side has one less padding before it than after it
            top, left = (padding - 1 + side % 2 for side in x.shape[-2:])
            x, padding = functional.pad(x, (left, padding, top, padding)), 0
        x = functional.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)
        return functional.relu6(x, inplace=True) if self.relu else x


class _Block(nn.Module):
    """Expansion, depthwise convolution, projection; with a residual connection if the shapes agree."""

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
        variant: the member of the family.
    """

    def __init__(self, content: bytes, variant: Variant) -> None:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        blocks = (_Block(state, f"_blocks.{i}", stride=stride) for i, stride in enumerate(variant.strides()))
        self._features = nn.Sequential(
            _Unit(state, "_conv_stem", norm="_bn0", stride=2), *blocks, _Unit(state, "_conv_head", norm="_bn1")
        ).eval()
        self._weight, self._bias = state["_fc.weight"], state["_fc.bias"]
        self._size = variant.size

    @torch.inference_mode()
    def classify(self, image: Image.Image) -> Tensor:
        """Returns class probabilities of an RGB image, `[2, 1000]`: of the whole image, and over its positions.

        Those of the positions are combined as a root mean square, so that a class in a few positions still counts.
        Takes one image: sizes differ, and on a CPU a batch is not faster.
        """
        pixels = torch.from_numpy(np.array(self._scale(image)))
        x = pixels.permute(2, 0, 1)[None].float().sub_(_PIXEL_MEAN).div_(_PIXEL_SCALE)  # [1, 3, H, W]
        positions = self._features(x)[0].permute(1, 2, 0).flatten(0, 1)  # [H / 32 * W / 32, 1280]
        features = torch.cat((positions.mean(dim=0, keepdim=True), positions))
        probabilities = functional.linear(features, self._weight, self._bias).softmax(dim=-1)
        return torch.stack((probabilities[0], probabilities[1:].square().mean(dim=0).sqrt()))

    def _scale(self, image: Image.Image) -> Image.Image:
        # Uses the size before decoding scaled it down: the padding depends on whether a side is even.
        full = full_size(image)
        scale = min(self._size / min(full), _MAX_ASPECT * self._size / max(full))
        width, height = (max(_MIN_PIXELS, round(side * scale)) for side in full)
        return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
