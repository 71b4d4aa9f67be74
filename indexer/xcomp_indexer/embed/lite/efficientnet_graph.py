"""EfficientNet-lite as a graph: pixels to class probabilities.

Mobile inverted bottlenecks without squeeze-and-excitation, ReLU6 throughout (Tan & Le, arXiv:1905.11946; lite variants
in github.com/tensorflow/tpu, models/official/efficientnet/lite). Widths and kernels are read off the weights; batch
normalisation is folded into the convolutions.
"""

from collections.abc import Iterable

import numpy as np

from xcomp_indexer.embed.engine.graph import State, affine, ints, scalar, weight
from xcomp_indexer.embed.engine.openvino import Graph, Node, op

_BATCH_NORM_EPS = 1e-3
# Inputs are (pixel - 127) / 128 (the lite folder above).
_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0
_ALL = np.iinfo(np.int32).max  # the end of an axis of unknown length


def build(state: State, strides: Iterable[int]) -> Graph:
    """Returns the graph of a variant.

    Args:
        state: tensors of the released file by name.
        strides: of each block.

    Input: `[1, H, W, 3]` in u8. Output: `[2, 1000]`, probabilities of the whole image, and the root mean square
    of those at every place of the last feature map, in which what fills a few places still counts.
    """
    pixels = op.parameter([1, -1, -1, 3], np.uint8, name="pixels")
    x = op.transpose(op.convert(pixels, "f32"), ints(0, 3, 1, 2))
    x = op.divide(op.subtract(x, scalar(_PIXEL_MEAN)), scalar(_PIXEL_SCALE))
    x = _unit(x, state, "_conv_stem", norm="_bn0", stride=2)
    for index, stride in enumerate(strides):
        x = _block(x, state, f"_blocks.{index}", stride=stride)
    x = _unit(x, state, "_conv_head", norm="_bn1")
    return Graph([_probabilities(x, state)], [pixels], "efficientnet-lite")


def _probabilities(features: Node, state: State) -> Node:  # [1, C, H, W] -> [2, 1000]
    channels = state["_fc.weight"].shape[1]
    places = op.reshape(op.transpose(features, ints(0, 2, 3, 1)), ints(-1, channels), special_zero=False)
    whole = op.reduce_mean(places, ints(0), keep_dims=True)
    scores = affine(op.concat([whole, places], 0), state["_fc.weight"], state["_fc.bias"])
    each = op.softmax(scores, 1)  # row 0 is the whole image, the others are its places
    rest = op.slice(each, ints(1), ints(_ALL), ints(1), ints(0))
    joined = op.sqrt(op.reduce_mean(op.multiply(rest, rest), ints(0), keep_dims=True))
    return op.concat([op.slice(each, ints(0), ints(1), ints(1), ints(0)), joined], 0)


def _block(x: Node, state: State, prefix: str, *, stride: int) -> Node:
    """Expands, filters by depth and projects; with a short cut where the shape allows it."""
    before = x
    if f"{prefix}._expand_conv.weight" in state:
        x = _unit(x, state, f"{prefix}._expand_conv", norm=f"{prefix}._bn0")
    x = _unit(x, state, f"{prefix}._depthwise_conv", norm=f"{prefix}._bn1", stride=stride)
    x = _unit(x, state, f"{prefix}._project_conv", norm=f"{prefix}._bn2", relu=False)
    return op.add(x, before) if stride == 1 and _channels(x) == _channels(before) else x


def _unit(x: Node, state: State, conv: str, *, norm: str, stride: int = 1, relu: bool = True) -> Node:
    """Convolves with the batch normalisation folded in; TensorFlow's padding ("same") is the engine's `same_upper`."""
    gain = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _BATCH_NORM_EPS)
    filters = (state[f"{conv}.weight"] * gain[:, None, None, None]).astype(np.float32)
    bias = (state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain).astype(np.float32)
    steps = {"strides": [stride] * 2, "pads_begin": [0, 0], "pads_end": [0, 0], "dilations": [1, 1]}
    if filters.shape[1] == 1 and _channels(x) > 1:  # by depth: a group for each channel
        convolved = op.group_convolution(x, weight(filters[:, None]), **steps, auto_pad="same_upper")
    else:
        convolved = op.convolution(x, weight(filters), **steps, auto_pad="same_upper")
    shifted = op.add(convolved, weight(bias[None, :, None, None]))
    return op.clamp(shifted, 0.0, 6.0) if relu else shifted


def _channels(x: Node) -> int:
    return int(x.get_output_partial_shape(0)[1].get_length())
