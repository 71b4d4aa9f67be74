"""Pre-norm transformer blocks as CLIP's towers have them (Radford et al., arXiv:2103.00020), and BERT's post-norm ones.

The last block of a tower may be asked for one token alone: nothing else of it is used. Does not depend on where weights
come from: a block takes arrays, not names of keys.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xcomp_indexer.embed.engine.graph import Array, State, affine, attend, ints, scalar, weight
from xcomp_indexer.embed.engine.openvino import Node, op

TORCH_EPS = 1e-5  # of torch's LayerNorm unless a model says otherwise
_NEVER = -1e9  # added to the score of a token that must not be seen


@dataclass(frozen=True)
class Norm:
    """Gain and bias of a layer normalisation."""

    gain: Array
    bias: Array
    eps: float

    def __call__(self, x: Node) -> Node:
        """Normalises the last axis."""
        normed = op.mvn(x, ints(-1), normalize_variance=True, eps=self.eps, eps_mode="inside_sqrt")
        return op.add(op.multiply(normed, weight(self.gain)), weight(self.bias))


@dataclass(frozen=True)
class Dense:
    """A linear layer: `matrix` `[D', D]`, and a bias where it has one."""

    matrix: Array
    bias: Array | None = None

    def __call__(self, x: Node) -> Node:
        """Multiplies the last axis."""
        return affine(x, self.matrix, self.bias)


@dataclass(frozen=True)
class TransformerBlock:
    """The weights of a transformer block."""

    q: Dense
    k: Dense
    v: Dense
    out: Dense
    norm1: Norm
    norm2: Norm
    up: Dense
    down: Dense
    heads: int
    activation: Callable[[Node], Node]

    def pre_norm(self, x: Node, *, bias: Node | None = None, causal: bool = False) -> Node:
        """Runs the block with its normalisations before attention and before the perceptron. `[B, T, D]`."""
        seen = self.norm1(x)
        x = op.add(x, self._attend(seen, seen, bias=bias, causal=causal))
        return op.add(x, self._perceive(self.norm2(x)))

    def pre_norm_of_one(self, x: Node, token: Node, *, bias: Node | None = None) -> Node:
        """Runs the block for one token of each row: `token` picks it from `[B, T, D]` as `[B, 1, D]`."""
        seen = self.norm1(x)
        one = op.add(pick(x, token), self._attend(pick(seen, token), seen, bias=bias))
        return op.add(one, self._perceive(self.norm2(one)))

    def post_norm(self, x: Node, *, bias: Node) -> Node:
        """Runs the block with its normalisations behind attention and behind the perceptron. `[B, T, D]`."""
        x = self.norm1(op.add(self._attend(x, x, bias=bias), x))
        return self.norm2(op.add(self._perceive(x), x))

    def post_norm_of_one(self, x: Node, token: Node, *, bias: Node) -> Node:
        """Runs the block for one token of each row, as `pre_norm_of_one`."""
        one = pick(x, token)
        one = self.norm1(op.add(self._attend(one, x, bias=bias), one))
        return self.norm2(op.add(self._perceive(one), one))

    def _attend(self, asking: Node, x: Node, *, bias: Node | None = None, causal: bool = False) -> Node:
        seen = attend(self.q(asking), self.k(x), self.v(x), heads=self.heads, bias=bias, causal=causal)
        return self.out(seen)

    def _perceive(self, x: Node) -> Node:
        return self.down(self.activation(self.up(x)))


def pick(x: Node, token: Node) -> Node:
    """Returns one token of each row: `[B, T, D]` and places `[B]` to `[B, 1, D]`."""
    return op.gather(x, op.unsqueeze(token, ints(1)), ints(1), 1)


def first(x: Node) -> Node:
    """Returns the place of the first token of each row, `[B]`."""
    rows = op.slice(op.shape_of(x), ints(0), ints(1), ints(1), ints(0))
    return op.broadcast(op.constant(np.int64(0)), rows)


def gelu(x: Node) -> Node:
    """The exact GELU (Hendrycks & Gimpel, arXiv:1606.08415)."""
    return op.gelu(x, "erf")


def quick_gelu(x: Node) -> Node:
    """x * sigmoid(1.702 x), the approximation that OpenAI's CLIP was trained with."""
    return op.multiply(x, op.sigmoid(op.multiply(x, scalar(1.702))))


def hide_padding(mask: Node) -> Node:
    """Turns a mask `[B, T]`, 1 for a token and 0 for padding, into a bias `[B, 1, 1, T]` of attention scores."""
    return op.multiply(op.subtract(scalar(1.0), op.unsqueeze(mask, ints(1, 2))), scalar(_NEVER))


def hide_behind(x: Node, token: Node) -> Node:
    """Returns a bias `[B, 1, 1, T]` that hides what stands behind the token at place `token` `[B]`."""
    length = op.squeeze(op.slice(op.shape_of(x), ints(1), ints(2), ints(1), ints(0)), ints(0))
    places = op.range(op.constant(np.int64(0)), length, op.constant(np.int64(1)), "i64")
    behind = op.greater(op.unsqueeze(places, ints(0)), op.unsqueeze(token, ints(1)))
    return op.unsqueeze(op.multiply(op.convert(behind, "f32"), scalar(_NEVER)), ints(1, 2))


def embed_pixels(pixels: Node, filters: Array, *, mean: Array, std: Array) -> Node:  # [B, S, S, 3] u8 -> [B, P, D]
    """Normalises pixels and cuts them into patches, one token for each."""
    patch, width = filters.shape[-1], filters.shape[0]
    x = op.divide(op.convert(pixels, "f32"), scalar(255.0))
    x = op.divide(op.subtract(x, weight(mean)), weight(std))
    x = op.transpose(x, ints(0, 3, 1, 2))
    x = op.convolution(x, weight(filters), [patch, patch], [0, 0], [0, 0], [1, 1])
    return op.transpose(op.reshape(x, ints(0, width, -1), special_zero=True), ints(0, 2, 1))


def prepend(token: Array, x: Node) -> Node:  # [D], [B, T, D] -> [B, T + 1, D]
    """Puts the same token before every row."""
    rows = op.slice(op.shape_of(x), ints(0), ints(1), ints(1), ints(0))
    shape = op.concat([rows, ints(1, len(token))], 0)
    return op.concat([op.broadcast(weight(token[None, None]), shape), x], 1)


def norm_of(state: State, name: str, *, eps: float = TORCH_EPS) -> Norm:
    """Returns the normalisation of that name."""
    return Norm(state[f"{name}.weight"], state[f"{name}.bias"], eps)


def dense_of(state: State, name: str) -> Dense:
    """Returns the linear layer of that name."""
    return Dense(state[f"{name}.weight"], state.get(f"{name}.bias"))


def first_rows(table: Array, input_ids: Node) -> Node:  # [N, D] -> [T, D]
    """Returns as many rows as the texts have tokens, the embeddings of their positions."""
    length = op.slice(op.shape_of(input_ids), ints(1), ints(2), ints(1), ints(0))
    return op.slice(weight(table), ints(0), length, ints(1), ints(0))
