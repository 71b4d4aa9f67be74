"""What a model takes in memory, told before anything is loaded.

The one idea: the modules are built without memory and counted, so the plan is as exact as the model.
"""

from dataclasses import dataclass

from xcomp_model.xcomposer.cache import PREFIX_SLOTS
from xcomp_model.xcomposer.config import Config
from xcomp_model.xcomposer.convert import build, dtype_of
from xcomp_model.xcomposer.device import Place, free_bytes

_GIB = 1 << 30
_WORKSPACE_BYTES = 1 << 30  # activations of one chunk, logits, the allocator's own
FEATURES_BYTES = 256 << 20  # rows of pictures that are kept


@dataclass(frozen=True)
class MemoryPlan:
    """Sizes in bytes.

    Attributes:
        weights: of each part of the model.
        kv_per_token: keys and values of one position.
        kv: keys and values of all prompts that are kept, each of the full context.
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


def make_plan(name: str, config: Config, place: Place, *, context_tokens: int) -> MemoryPlan:
    """Counts a model without loading it."""
    weights: dict[str, int] = {}
    for key, parameter in build(config).named_parameters():
        part = _part(key)
        weights[part] = weights.get(part, 0) + parameter.numel() * dtype_of(key, config, place.dtype).itemsize
    llm = config.llm
    heads = llm.num_key_value_heads or llm.num_attention_heads
    head_dim = llm.head_dim or llm.hidden_size // llm.num_attention_heads
    per_token = 2 * llm.num_hidden_layers * heads * head_dim * place.dtype.itemsize
    return MemoryPlan(
        name=name,
        device=place.device,
        dtype=str(place.dtype).removeprefix("torch."),
        weights=weights,
        kv_per_token=per_token,
        kv=per_token * context_tokens * PREFIX_SLOTS,
        free=free_bytes(place),
    )


def _part(key: str) -> str:
    if "plora" in key:
        return "partial LoRA"
    if key.startswith("llm."):
        return "decoder"
    return (
        "vision" if key.startswith("vision.") else "sampler" if key.startswith(("qformer.", "query")) else "projector"
    )
