"""The shapes of the tensors that the graphs of CLIP models read, from the numbers of a configuration."""

from collections.abc import Mapping

_INNER = "intermediate_size"


def list_open_clip_shapes(
    vision: Mapping[str, float], text: Mapping[str, float], dimension: int
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all tensors that both towers of an open_clip `CLIP` read, by name."""
    width, patch = int(vision["width"]), int(vision["patch_size"])
    patches = int(vision["image_size"]) // patch
    wide, words = int(text["width"]), int(text["vocab_size"])
    return {
        "visual.conv1.weight": (width, 3, patch, patch),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (patches**2 + 1, width),
        "visual.proj": (width, dimension),
        **_pair("visual.ln_pre", width),
        **_pair("visual.ln_post", width),
        **_open_clip_block_shapes("visual.transformer", vision),
        "token_embedding.weight": (words, wide),
        "positional_embedding": (int(text["context_length"]), wide),
        "text_projection": (wide, dimension),
        **_pair("ln_final", wide),
        **_open_clip_block_shapes("transformer", text),
    }


def _open_clip_block_shapes(transformer: str, tower: Mapping[str, float]) -> dict[str, tuple[int, ...]]:
    width, inner = int(tower["width"]), int(tower["width"] * tower["mlp_ratio"])
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(int(tower["layers"])):
        prefix = f"{transformer}.resblocks.{number}"
        shapes |= {f"{prefix}.attn.in_proj_weight": (3 * width, width), f"{prefix}.attn.in_proj_bias": (3 * width,)}
        shapes |= _pair(f"{prefix}.attn.out_proj", width, width)
        shapes |= {**_pair(f"{prefix}.ln_1", width), **_pair(f"{prefix}.ln_2", width)}
        shapes |= {**_pair(f"{prefix}.mlp.c_fc", inner, width), **_pair(f"{prefix}.mlp.c_proj", width, inner)}
    return shapes


def _pair(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a weight and of its bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def list_chinese_shapes(
    vision: Mapping[str, object], text: Mapping[str, object], dimension: int
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all tensors that both towers of a Chinese-CLIP read, by name."""
    width, patch, size = _size(vision, "hidden_size"), _size(vision, "patch_size"), _size(vision, "image_size")
    wide = _size(text, "hidden_size")
    shapes: dict[str, tuple[int, ...]] = {
        "vision_model.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "vision_model.embeddings.class_embedding": (width,),
        "vision_model.embeddings.position_embedding.weight": ((size // patch) ** 2 + 1, width),
        "visual_projection.weight": (dimension, width),
        "text_model.embeddings.word_embeddings.weight": (_size(text, "vocab_size"), wide),
        "text_model.embeddings.position_embeddings.weight": (_size(text, "max_position_embeddings"), wide),
        "text_model.embeddings.token_type_embeddings.weight": (_size(text, "type_vocab_size"), wide),
        "text_projection.weight": (dimension, wide),
        **_pair("vision_model.pre_layrnorm", width),
        **_pair("vision_model.post_layernorm", width),
        **_pair("text_model.embeddings.LayerNorm", wide),
    }
    for number in range(_size(vision, "num_hidden_layers")):
        shapes |= _chinese_layer_shapes(f"vision_model.encoder.layers.{number}", width, _size(vision, _INNER))
    for number in range(_size(text, "num_hidden_layers")):
        shapes |= _bert_layer_shapes(f"text_model.encoder.layer.{number}", wide, _size(text, _INNER))
    return shapes


def _chinese_layer_shapes(layer: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= _pair(f"{layer}.self_attn.{name}", width, width)
    shapes |= {**_pair(f"{layer}.layer_norm1", width), **_pair(f"{layer}.layer_norm2", width)}
    return {**shapes, **_pair(f"{layer}.mlp.fc1", inner, width), **_pair(f"{layer}.mlp.fc2", width, inner)}


def _bert_layer_shapes(layer: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("self.query", "self.key", "self.value", "output.dense"):
        shapes |= _pair(f"{layer}.attention.{name}", width, width)
    shapes |= {**_pair(f"{layer}.attention.output.LayerNorm", width), **_pair(f"{layer}.output.LayerNorm", width)}
    return {
        **shapes,
        **_pair(f"{layer}.intermediate.dense", inner, width),
        **_pair(f"{layer}.output.dense", width, inner),
    }


def _size(config: Mapping[str, object], name: str) -> int:
    return int(str(config[name]))
