"""Key names of the releases of InternLM-XComposer 2, and their targets."""

import logging
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from xcomp_model.xcomposer.architecture.config import XComposer2Config
from xcomp_model.xcomposer.weights.mapping import COPY, Layout, Rule

logger = logging.getLogger(__name__)
_CLIP = r"vit\.vision_tower\.vision_model\."
_LAYER = r"model\.layers\.(\d+)\."
_BLOCK = r"llm.model.layers.\1."


def _linear(released: str, target: str) -> Iterator[Rule]:
    yield Rule(_LAYER + released + r"\.weight", _BLOCK + target + ".weight")
    yield Rule(_LAYER + released + r"\.Plora_A\.weight", _BLOCK + target + ".plora_a")
    yield Rule(_LAYER + released + r"\.Plora_B\.weight", _BLOCK + target + ".plora_b")


def _joint_projection() -> Iterator[Rule]:
    fused = _LAYER + r"attention\.wqkv\."
    yield Rule(fused + r"Plora_A\.weight", _BLOCK + "self_attn.q_proj.plora_a")  # the keys and values share it
    for name in "qkv":
        yield Rule(fused + "weight", _BLOCK + f"self_attn.{name}_proj.weight", role=f"wqkv.{name}")
        yield Rule(fused + r"Plora_B\.weight", _BLOCK + f"self_attn.{name}_proj.plora_b", role=f"wqkv.{name}")


# Patterns of released keys and their targets.
RULES = (
    Rule(_CLIP + r"embeddings\.position_ids", None),
    Rule(_CLIP + r"((?:embeddings|pre_layrnorm|encoder)\..+)", r"vision.\1"),
    Rule(r"vision_proj\.([02])\.(weight|bias)", r"projector.\1.\2"),
    Rule(r"model\.tok_embeddings\.weight", "llm.model.embed_tokens.weight"),
    Rule(_LAYER + r"attention_norm\.weight", _BLOCK + "input_layernorm.weight"),
    Rule(_LAYER + r"ffn_norm\.weight", _BLOCK + "post_attention_layernorm.weight"),
    *_joint_projection(),
    *_linear(r"attention\.wo", "self_attn.o_proj"),
    *_linear(r"feed_forward\.w1", "mlp.gate_proj"),
    *_linear(r"feed_forward\.w3", "mlp.up_proj"),
    *_linear(r"feed_forward\.w2", "mlp.down_proj"),
    Rule(_LAYER + r"attention\.rotary_emb\.inv_freq", None),
    Rule(r"model\.norm\.weight", "llm.model.norm.weight"),
    Rule(r"output\.weight", "llm.lm_head.weight"),
)
_POSITIONS = "vision.embeddings.position_embedding.weight"


def layout(config: XComposer2Config) -> Layout:
    """Returns the targets of the released tensors; the joint projection is un-fused."""

    def needs(target: str) -> frozenset[str]:
        for name in "qkv":
            if target.startswith("llm.") and target.endswith((f".{name}_proj.weight", f".{name}_proj.plora_b")):
                return frozenset({f"wqkv.{name}"})
        return COPY

    llm = config.llm
    return Layout(
        RULES,
        needs,
        fit=_fit_positions,
        kv_heads=llm.num_key_value_heads or llm.num_attention_heads,
        head_dim=llm.head_dim or llm.hidden_size // llm.num_attention_heads,
    )


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """Resizes a position table [1 + G * G, D] to another grid, as the release did before its training.

    The class token keeps its row; the patches are resized as a map, bicubic and without antialiasing.
    """
    first, patches = table[:1], table[1:].float()
    side = math.isqrt(len(patches))
    map_ = patches.T.reshape(1, -1, side, side)
    resized = nn.functional.interpolate(map_, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat((first, resized.flatten(2)[0].T.to(table.dtype)))


def _fit_positions(target: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    is_square = tensor.dim() == len(shape) and math.isqrt(len(tensor) - 1) ** 2 == len(tensor) - 1
    if target != _POSITIONS or tensor.shape == shape or not is_square:
        return tensor
    logger.warning("resizing a position table of %d rows to %d: is img_size right?", len(tensor), shape[0])
    return resize_positions(tensor, math.isqrt(shape[0] - 1))
