"""InternLM-XComposer 1.0 (Zhang et al. 2023, arXiv 2309.15112) on the modules of transformers.

A picture goes through an EVA ViT-g and a perceive sampler with learned queries; a projection and two flags make rows
of it that stand between the embeddings of the words, and InternLM, a Llama with attention biases, reads on.
"""

import re
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerModel, Blip2VisionModel, LlamaForCausalLM

from xcomp_model.xcomposer.config import XComposer1Config
from xcomp_model.xcomposer.mapping import COPY, GPTQ, LORA, QV_BIAS, ZERO, Layout, Rule

_VIT = r"visual_encoder\.blocks\.(\d+)\."
_BLOCK = r"vision.encoder.layers.\1."
_BERT = r"Qformer\.bert\.encoder\.layer\.(\d+)\."
_SAMPLER = r"qformer.encoder.layer.\1."
_LLM = r"internlm_model\."
_LAYER = r"(model\.layers\.\d+\."
_PROJ = _LAYER + r"(?:self_attn\.[qkvo]|mlp\.(?:gate|up|down))_proj)\."

# Released keys (patterns), and where they go. Weights keep their orientation; no rows are permuted.
RULES = (
    Rule(r"visual_encoder\.cls_token", "vision.embeddings.class_embedding"),
    Rule(r"visual_encoder\.pos_embed", "vision.embeddings.position_embedding"),
    Rule(r"visual_encoder\.patch_embed\.proj\.(weight|bias)", r"vision.embeddings.patch_embedding.\1"),
    Rule(_VIT + r"norm([12])\.(weight|bias)", _BLOCK + r"layer_norm\2.\3"),
    Rule(_VIT + r"attn\.qkv\.weight", _BLOCK + "self_attn.qkv.weight"),
    Rule(_VIT + r"attn\.q_bias", _BLOCK + "self_attn.qkv.bias", role="q_bias"),  # the keys have no bias
    Rule(_VIT + r"attn\.v_bias", _BLOCK + "self_attn.qkv.bias", role="v_bias"),
    Rule(_VIT + r"attn\.proj\.(weight|bias)", _BLOCK + r"self_attn.projection.\2"),
    Rule(_VIT + r"mlp\.(fc[12]\.(?:weight|bias))", _BLOCK + r"mlp.\2"),
    Rule(r"ln_vision\.(weight|bias)", r"vision.post_layernorm.\1"),
    Rule(r"query_tokens", "query_tokens"),
    Rule(r"Qformer\.bert\.embeddings\.LayerNorm\.(weight|bias)", r"qformer.layernorm.\1"),
    Rule(r"Qformer\.bert\.embeddings\.position_ids", None),
    Rule(_BERT + r"(attention|crossattention)\.self\.(\w+\.\w+)", _SAMPLER + r"\2.attention.\3"),
    Rule(_BERT + r"(attention|crossattention)\.output\.(\w+\.\w+)", _SAMPLER + r"\2.output.\3"),
    Rule(_BERT + r"((?:intermediate|output)_query\.\w+\.\w+)", _SAMPLER + r"\2"),
    Rule(r"internlm_proj\.(weight|bias)", r"projector.\1"),
    Rule(r"(flag_image_(?:start|end))", r"\1"),
    Rule(_LLM + r"(model\.embed_tokens\.weight|model\.norm\.weight|lm_head\.weight)", r"llm.\1"),
    Rule(_LLM + _LAYER + r"(?:input|post_attention)_layernorm\.weight)", r"llm.\1"),
    Rule(_LLM + _PROJ + r"weight", r"llm.\1.weight"),
    Rule(_LLM + _PROJ + r"lora_A\.weight", r"llm.\1.weight", role="lora_A"),
    Rule(_LLM + _PROJ + r"lora_B\.weight", r"llm.\1.weight", role="lora_B"),
    Rule(_LLM + _PROJ + r"qweight", r"llm.\1.weight", role="qweight"),
    Rule(_LLM + _PROJ + r"qzeros", r"llm.\1.weight", role="qzeros"),
    Rule(_LLM + _PROJ + r"scales", r"llm.\1.weight", role="scales"),
    Rule(_LLM + _PROJ + r"g_idx", r"llm.\1.weight", role="g_idx"),
    Rule(_LLM + _LAYER + r"self_attn\.[qkvo]_proj\.bias)", r"llm.\1"),
    Rule(_LLM + _LAYER + r"mlp\.\w+_proj\.bias)", None, role=ZERO),  # 4-bit files carry empty ones
    Rule(_LLM + _LAYER + r"self_attn\.rotary_emb\.inv_freq)", None),
)  # fmt: skip

_HAS_LORA = re.compile(r"llm\..*(?:[qv]_proj|up_proj|down_proj)\.weight")
_IS_LINEAR = re.compile(r"llm\..*_proj\.weight")
# The sampler and what follows it run in fp32, as released.
FLOAT32 = ("qformer.", "query_tokens", "projector.", "flag_image_")


def layout(config: XComposer1Config) -> Layout:
    """Where the released tensors go, and which of them are put together."""

    def needs(target: str) -> frozenset[str]:
        if target.endswith("self_attn.qkv.bias"):
            return QV_BIAS
        if config.is_quantised and _IS_LINEAR.fullmatch(target):
            return GPTQ
        return LORA if config.lora_scale is not None and _HAS_LORA.fullmatch(target) else COPY

    return Layout(RULES, needs, lora_scale=config.lora_scale or 1.0)


class XComposer1(nn.Module):
    """The parts of the paper's figure 2: visual encoder, perceive sampler, language model."""

    def __init__(self, config: XComposer1Config) -> None:
        super().__init__()
        width = config.llm.hidden_size
        self.vision = Blip2VisionModel(config.vision)
        self.vision.post_layernorm.eps = 1e-5  # a norm of its own in the release; the blocks' have 1e-6
        self.query_tokens = nn.Parameter(torch.empty(1, config.queries, config.sampler.hidden_size))
        self.qformer = Blip2QFormerModel(config.sampler)
        self.projector = nn.Linear(config.sampler.hidden_size, width)
        self.flag_image_start = nn.Parameter(torch.empty(1, 1, width))
        self.flag_image_end = nn.Parameter(torch.empty(1, 1, width))
        self.llm = LlamaForCausalLM(config.llm)
        self.image_size = config.image_size
        self.rows_per_image = config.queries + 2

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Turns [B, 3, S, S] into the rows of each picture, [B, Q + 2, D]."""
        patches = self.vision(pixel_values=pixel_values).last_hidden_state  # [B, P + 1, ViT width]
        queries = self.query_tokens.to(patches.device).expand(len(patches), -1, -1)
        seen = self.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state
        rows = self.projector(seen)  # [B, Q, D]
        start, end = (
            flag.to(rows.device).expand(len(rows), -1, -1) for flag in (self.flag_image_start, self.flag_image_end)
        )
        return torch.cat((start, rows, end), dim=1)

    def image_rows(self, mask: Tensor) -> AbstractContextManager[None]:  # noqa: ARG002
        """Pictures and words pass the same weights in this model."""
        return nullcontext()
