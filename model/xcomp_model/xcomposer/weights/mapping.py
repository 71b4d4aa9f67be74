"""From released key names to the modules' own: a table of rules, and the few ways in which tensors are put together.

The one idea: every released key takes part in one or more targets under a role; a target is built when all roles that
it needs are there. Nothing here knows files or devices.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xcomp_model.xcomposer.weights.gptq import unpack

Parts = Mapping[str, Tensor]

COPY = frozenset({"weight"})
LORA = frozenset({"weight", "lora_A", "lora_B"})
QV_BIAS = frozenset({"q_bias", "v_bias"})
GPTQ = frozenset({"qweight", "qzeros", "scales", "g_idx"})
ZERO = "zero"  # the role of a tensor that is dropped after a look that it really is zero


@dataclass(frozen=True)
class Rule:
    """A pattern of released keys (a regular expression), the target it feeds (None: dropped), and its role there."""

    source: str
    target: str | None
    role: str = "weight"


@dataclass(frozen=True)
class Layout:
    """How a release is laid out.

    Attributes:
        rules: every rule that matches a key applies; a key that none matches is unknown.
        needs: the roles that a target is built from.
        lora_scale: alpha / rank of the low-rank updates that are merged.
        fit: brings a finished target to the shape that the model has, where that makes sense.
        kv_heads: heads of keys and values, where a joint projection is un-fused.
        head_dim: their width.
    """

    rules: Sequence[Rule]
    needs: Callable[[str], frozenset[str]] = lambda _: COPY
    fit: Callable[[str, Tensor, torch.Size], Tensor] = lambda _, tensor, __: tensor
    lora_scale: float = 1.0
    kv_heads: int = 1
    head_dim: int = 1

    def targets(self, key: str) -> list[tuple[str | None, str]]:
        """Returns (target, role) for every rule that matches; nothing for an unknown key."""
        found = [(rule, match) for rule in self.rules if (match := re.fullmatch(rule.source, key))]
        return [(match.expand(rule.target) if rule.target else None, rule.role) for rule, match in found]

    def build(self, parts: Parts) -> Tensor:
        """Puts a target together from its roles."""
        roles = frozenset(parts)
        if roles == COPY:
            return parts["weight"]
        if roles == LORA:
            return merge_lora(parts["weight"], parts["lora_A"], parts["lora_B"], scale=self.lora_scale)
        if roles == QV_BIAS:
            return torch.cat((parts["q_bias"], torch.zeros_like(parts["q_bias"]), parts["v_bias"]))
        if roles == GPTQ:
            return unpack(parts["qweight"], parts["qzeros"], scales=parts["scales"], g_idx=parts["g_idx"])
        (role,) = roles
        return unfuse(parts[role], role, kv_heads=self.kv_heads, head_dim=self.head_dim)


def merge_lora(weight: Tensor, down: Tensor, up: Tensor, *, scale: float) -> Tensor:
    """W + scale * B A in fp32 (LoRA, Hu et al. 2021, section 4.1)."""
    return (up.float() @ down.float()).mul_(scale).add_(weight)


def unfuse(fused: Tensor, role: str, *, kv_heads: int, head_dim: int) -> Tensor:
    """Rows of the queries, keys or values out of InternLM2's joint projection.

    The rows come in groups, one for each key head: the group's query heads, then its key, then its value. `role` is
    `wqkv.q`, `wqkv.k` or `wqkv.v`; the rows of the low-rank part are laid out alike.
    """
    groups = fused.reshape(kv_heads, -1, head_dim, fused.shape[1])
    picked = {"wqkv.q": groups[:, :-2], "wqkv.k": groups[:, -2:-1], "wqkv.v": groups[:, -1:]}[role]
    return picked.reshape(-1, fused.shape[1])
