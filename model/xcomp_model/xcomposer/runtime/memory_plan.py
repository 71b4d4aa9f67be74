"""What a model takes in memory, told before anything is loaded.

The one idea: the modules are built without memory and counted, so the plan is as exact as the model.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaConfig

from xcomp_model.base import ModelError
from xcomp_model.xcomposer.architecture.build import (
    build,
    dtype_of,
)
from xcomp_model.xcomposer.architecture.config import Config
from xcomp_model.xcomposer.runtime.device import DevicePlacement, free_bytes

_GIB = 1 << 30
_WORKSPACE_BYTES = 1 << 30  # activations of one chunk, logits, the allocator's own
FEATURES_BYTES = 256 << 20  # rows of pictures that are kept
_LEAST_PROMPTS = 2  # of the full context: one for the descriptions of an article, one for its choices
_CPU_PROMPTS_BYTES = 2 << 30  # where nobody says more: the memory of a computer is not the model's alone


@dataclass(frozen=True)
class MemoryPlan:
    """Sizes in bytes.

    Attributes:
        weights: of each part of the model.
        kv_per_token: keys and values of one position.
        kv: keys and values of two prompts of the full context, the least that is kept; or what was asked for.
        free: what the device has.
    """

    name: str
    device: str
    dtype: str
    weights: dict[str, int]
    kv_per_token: int
    kv: int
    free: int
    workspace: int = _WORKSPACE_BYTES + FEATURES_BYTES

    @property
    def needed(self) -> int:
        """Everything together."""
        return sum(self.weights.values()) + self.kv + self.workspace

    @property
    def headroom(self) -> int:
        """What stays free; negative where the model does not fit."""
        return self.free - self.needed

    def lines(self) -> list[str]:
        """The plan for people, a line for each part."""
        parts = [*self.weights.items(), ("keys and values", self.kv), ("workspace", self.workspace)]
        rows = [*parts, ("needed", self.needed), ("free", self.free), ("headroom", self.headroom)]
        head = f"{self.name} on {self.device} in {self.dtype}; {self.kv_per_token:,} bytes of keys and values per token"
        return [head, *(f"  {name:<16} {size / _GIB:8.2f} GiB" for name, size in rows)]

    def refusal(self) -> str:
        """One line for a model that does not fit."""
        parts = ", ".join(f"{name} {size / _GIB:.1f}" for name, size in self.weights.items())
        return (
            f"{self.name} needs {self.needed / _GIB:.1f} GiB on {self.device} in {self.dtype} ({parts}, keys and "
            f"values {self.kv / _GIB:.1f}, workspace {self.workspace / _GIB:.1f}), but {self.free / _GIB:.1f} GiB are "
            "free: use --model retrieval or --model openai:MODEL"
        )


def kv_bytes(llm: LlamaConfig, dtype: torch.dtype) -> int:
    """Bytes of the keys and values of one position."""
    heads = llm.num_key_value_heads or llm.num_attention_heads
    head_dim = llm.head_dim or llm.hidden_size // llm.num_attention_heads
    return 2 * llm.num_hidden_layers * heads * head_dim * dtype.itemsize


def make_plan(
    name: str, config: Config, place: DevicePlacement, *, context_tokens: int, prompts_bytes: int | None = None
) -> MemoryPlan:
    """Counts a model without loading it.

    Args:
        name: what it is called.
        config: what it is.
        place: where it would be.
        context_tokens: of a prompt with its answer.
        prompts_bytes: for keys and values; None where nobody said.

    Raises:
        ModelError: two prompts need more than `prompts_bytes`.
    """
    weights: dict[str, int] = {}
    for key, parameter in build(config).named_parameters():
        part = _part(key)
        weights[part] = weights.get(part, 0) + parameter.numel() * dtype_of(key, config, place.dtype).itemsize
    per_token = kv_bytes(config.llm, place.dtype)
    least = per_token * context_tokens * _LEAST_PROMPTS
    if prompts_bytes is not None and prompts_bytes < least:
        raise ModelError(
            f"{name} needs {least / _GIB:.2f} GiB for two prompts, but may take {prompts_bytes / _GIB:.2f}: raise "
            "--prompt-memory, or leave it out"
        )
    return MemoryPlan(
        name=name,
        device=place.device,
        dtype=str(place.dtype).removeprefix("torch."),
        weights=weights,
        kv_per_token=per_token,
        kv=prompts_bytes or least,
        free=free_bytes(place),
    )


def prompts_room(plan: MemoryPlan, layers: Sequence[torch.device], free: Callable[[torch.device], int]) -> int:
    """What keys and values may take beside a loaded model, in bytes: on a GPU what is free but for the workspace.

    Args:
        plan: of the model; its `kv` is the least.
        layers: where each layer of the decoder is; its keys and values are there, too.
        free: bytes of a device that nobody has.
    """
    room = min(
        (free(device) - plan.workspace) * len(layers) // count  # the fullest device decides
        for device, count in Counter(layers).items()
    )
    is_shared = any(device.type == "cpu" for device in layers)
    return max(plan.kv, min(room, _CPU_PROMPTS_BYTES) if is_shared else room)


def _part(key: str) -> str:
    if "plora" in key:
        return "partial LoRA"
    if key.startswith("llm."):
        return "decoder"
    return (
        "vision" if key.startswith("vision.") else "sampler" if key.startswith(("qformer.", "query")) else "projector"
    )
