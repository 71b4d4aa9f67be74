"""Key names of the releases of InternLM-XComposer 1, and their targets."""

import re

from xcomp_model.xcomposer.architecture.config import XComposer1Config
from xcomp_model.xcomposer.weights.mapping import COPY, GPTQ, LORA, QV_BIAS, ZERO, Layout, Rule

_VIT = r"visual_encoder\.blocks\.(\d+)\."
_BLOCK = r"vision.encoder.layers.\1."
_BERT = r"Qformer\.bert\.encoder\.layer\.(\d+)\."
_SAMPLER = r"qformer.encoder.layer.\1."
_LLM = r"internlm_model\."
_LAYER = r"(model\.layers\.\d+\."
_PROJ = _LAYER + r"(?:self_attn\.[qkvo]|mlp\.(?:gate|up|down))_proj)\."
# Patterns of released keys and their targets. Weights keep their orientation; rows keep their order.
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


def layout(config: XComposer1Config) -> Layout:
    """Returns the targets of the released tensors, and the roles that each is built from."""

    def needs(target: str) -> frozenset[str]:
        if target.endswith("self_attn.qkv.bias"):
            return QV_BIAS
        if config.is_quantised and _IS_LINEAR.fullmatch(target):
            return GPTQ
        return LORA if config.lora_scale is not None and _HAS_LORA.fullmatch(target) else COPY

    return Layout(RULES, needs, lora_scale=config.lora_scale or 1.0)
