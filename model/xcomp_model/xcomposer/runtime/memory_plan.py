"""The memory that a model takes, counted before it is loaded.

The modules are built without memory and their parameters counted, so the plan is as exact as the model.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaConfig

from xcomp_model.base import ModelFailure
from xcomp_model.xcomposer.architecture.build import build, dtype_of
from xcomp_model.xcomposer.architecture.config import Config
from xcomp_model.xcomposer.runtime.device import DevicePlacement, free_bytes

_GIB = 1 << 30
_WORKSPACE_BYTES = 1 << 30  # activations of one chunk, logits, overhead of the allocator
FEATURES_BYTES = 256 << 20  # cached rows of images
_MIN_PROMPTS = 2  # of the full context: one for the descriptions of an article, one for its choices
_CPU_PROMPTS_BYTES = 2 << 30  # the default: other programs need the memory of a computer, too


@dataclass(frozen=True)
class MemoryPlan:
    """Sizes in bytes.

    Attributes:
        weights: of each part of the model.
        kv_per_token: keys and values of one position.
        kv: keys and values of two prompts of the full context, which is the minimum, or the requested size.
        free: of the device.
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
    def total(self) -> int:
        """Everything that the model needs."""
        return sum(self.weights.values()) + self.kv + self.workspace

    @property
    def headroom(self) -> int:
        """What stays free; negative if the model does not fit."""
        return self.free - self.total

    def lines(self) -> list[str]:
        """The plan as text, one line per part."""
        parts = [*self.weights.items(), ("keys and values", self.kv), ("workspace", self.workspace)]
        rows = [*parts, ("needed", self.total), ("free", self.free), ("headroom", self.headroom)]
        head = f"{self.name} on {self.device} in {self.dtype}; {self.kv_per_token:,} bytes of keys and values per token"
        return [head, *(f"  {name:<16} {size / _GIB:8.2f} GiB" for name, size in rows)]

    def refusal(self) -> str:
        """The message for a model that does not fit."""
        parts = ", ".join(f"{name} {size / _GIB:.1f}" for name, size in self.weights.items())
        return (
            f"{self.name} needs {self.total / _GIB:.1f} GiB on {self.device} in {self.dtype} ({parts}, keys and "
            f"values {self.kv / _GIB:.1f}, workspace {self.workspace / _GIB:.1f}), but {self.free / _GIB:.1f} GiB are "
            "free: use --model retrieval or --model openai:MODEL"
        )


def kv_bytes_per_position(llm: LlamaConfig, dtype: torch.dtype) -> int:
    """Returns the size of the keys and values of one position."""
    heads = llm.num_key_value_heads or llm.num_attention_heads
    head_dim = llm.head_dim or llm.hidden_size // llm.num_attention_heads
    return 2 * llm.num_hidden_layers * heads * head_dim * dtype.itemsize


def make_plan(
    name: str, config: Config, placement: DevicePlacement, *, context_tokens: int, prompts_bytes: int | None = None
) -> MemoryPlan:
    """Counts the memory of a model without loading it.

    Args:
        name: of the model.
        config: of the model.
        place: its device and dtype.
        context_tokens: of a prompt with its answer.
        prompts_bytes: requested size of keys and values; None: the minimum.

    Raises:
        ModelFailure: two prompts need more than `prompts_bytes`.
    """
    weights: dict[str, int] = {}
    for key, parameter in build(config).named_parameters():
        part = _part(key)
        weights[part] = weights.get(part, 0) + parameter.numel() * dtype_of(key, config, placement.dtype).itemsize
    per_token = kv_bytes_per_position(config.llm, placement.dtype)
    minimum = per_token * context_tokens * _MIN_PROMPTS
    if prompts_bytes is not None and prompts_bytes < minimum:
        raise ModelFailure(
            f"{name} needs {minimum / _GIB:.2f} GiB for two prompts, but is limited to {prompts_bytes / _GIB:.2f}: "
            "raise --prompt-memory, or leave it out"
        )
    return MemoryPlan(
        name=name,
        device=placement.device,
        dtype=str(placement.dtype).removeprefix("torch."),
        weights=weights,
        kv_per_token=per_token,
        kv=prompts_bytes or minimum,
        free=free_bytes(placement),
    )


def prompt_cache_bytes(plan: MemoryPlan, layers: Sequence[torch.device], free: Callable[[torch.device], int]) -> int:
    """Returns the memory for keys and values beside a loaded model: on a GPU all that is free, less the workspace.

    Args:
        plan: of the model; its `kv` is the minimum.
        layers: the device of each layer of the decoder, which has the keys and values of the layer, too.
        free: returns the free bytes of a device.
    """
    available = min(
        (free(device) - plan.workspace) * len(layers) // count  # the device with the least free memory decides
        for device, count in Counter(layers).items()
    )
    is_shared = any(device.type == "cpu" for device in layers)
    return max(plan.kv, min(available, _CPU_PROMPTS_BYTES) if is_shared else available)


def _part(key: str) -> str:
    if "plora" in key:
        return "partial LoRA"
    if key.startswith("llm."):
        return "decoder"
    return (
        "vision" if key.startswith("vision.") else "sampler" if key.startswith(("qformer.", "query")) else "projector"
    )
