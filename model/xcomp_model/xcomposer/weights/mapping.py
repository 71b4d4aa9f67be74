"""Maps released key names to the names of our modules: a table of rules, and the ways to put tensors together.

A released key has a role in one or more targets, and a target is built once it has all its roles. This file does not
depend on files or devices.
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
ZERO = "zero"  # role of a tensor that is dropped after a check that it is zero


@dataclass(frozen=True)
class Rule:
    """A regular expression of released keys, the target of their tensors (None: dropped), and their role there."""

    source: str
    target: str | None
    role: str = "weight"


@dataclass(frozen=True)
class Layout:
    """How the tensors of a release become parameters.

    Attributes:
        rules: all rules that match a key apply; a key without a rule is unknown.
        needs: returns the roles that a target is built from.
        lora_scale: alpha / rank of the low-rank updates that are merged.
        fit: resizes a finished target to the shape in the model if the release did so, too.
        kv_heads: heads of keys and values, to un-fuse a joint projection.
        head_dim: their width.
    """

    rules: Sequence[Rule]
    needs: Callable[[str], frozenset[str]] = lambda _: COPY
    fit: Callable[[str, Tensor, torch.Size], Tensor] = lambda _, tensor, __: tensor
    lora_scale: float = 1.0
    kv_heads: int = 1
    head_dim: int = 1

    def targets(self, key: str) -> list[tuple[str | None, str]]:
        """Returns (target, role) for every rule that matches; empty for an unknown key."""
        matches = [(rule, match) for rule in self.rules if (match := re.fullmatch(rule.source, key))]
        return [(match.expand(rule.target) if rule.target else None, rule.role) for rule, match in matches]

    def build(self, parts: Parts) -> Tensor:
        """Builds a target from its parts."""
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
    """Returns W + scale * B A in fp32 (LoRA, Hu et al. 2021, section 4.1)."""
    return (up.float() @ down.float()).mul_(scale).add_(weight)


def unfuse(fused: Tensor, role: str, *, kv_heads: int, head_dim: int) -> Tensor:
    """Returns the rows of the queries, keys or values from InternLM2's joint projection.

    The rows are in groups, one for each key head: the query heads of the group, then its key, then its value. `role` is
    `wqkv.q`, `wqkv.k` or `wqkv.v`; the rows of the low-rank part are laid out in the same way.
    """
    groups = fused.reshape(kv_heads, -1, head_dim, fused.shape[1])
    rows = {"wqkv.q": groups[:, :-2], "wqkv.k": groups[:, -2:-1], "wqkv.v": groups[:, -1:]}[role]
    return rows.reshape(-1, fused.shape[1])
