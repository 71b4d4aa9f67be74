"""The towers of CLIP models as graphs, from the tensors of their released files.

Covers open_clip's plain `CLIP` (class token, text read at its end mark) and the ViT variants of Chinese-CLIP. The last
block of each tower computes the pooled token alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xcomp_indexer.embed.engine.bert import bert_block, bert_embeddings
from xcomp_indexer.embed.engine.graph import Array, State, ints, weight
from xcomp_indexer.embed.engine.openvino import Graph, Node, op
from xcomp_indexer.embed.engine.transformer import (
    Dense,
    TransformerBlock,
    dense_of,
    embed_pixels,
    first,
    first_rows,
    gelu,
    hide_behind,
    hide_padding,
    norm_of,
    prepend,
    quick_gelu,
)

ACTIVATIONS: dict[str, Callable[[Node], Node]] = {"gelu": gelu, "quick_gelu": quick_gelu}


@dataclass(frozen=True)
class Tower:
    """What a state dict does not tell of a tower: heads of attention and activation, by its name in `ACTIVATIONS`."""

    heads: int
    activation: str = "gelu"


@dataclass(frozen=True)
class Pixels:
    """How pixels are normalised: mean and deviation of the channels, each `[3]`."""

    mean: Array
    std: Array


def open_clip_image(state: State, tower: Tower, pixels: Pixels) -> Graph:
    """Returns the image tower of an open_clip `CLIP`: u8 pixels `[B, S, S, 3]` to features `[B, D]`."""
    image = op.parameter([-1, -1, -1, 3], np.uint8, name="pixels")
    x = embed_pixels(image, state["visual.conv1.weight"], mean=pixels.mean, std=pixels.std)
    x = op.add(prepend(state["visual.class_embedding"], x), weight(state["visual.positional_embedding"]))
    x = norm_of(state, "visual.ln_pre")(x)
    *blocks, last = _open_clip_blocks(state, "visual.transformer", tower)
    for block in blocks:
        x = block.pre_norm(x)
    pooled = norm_of(state, "visual.ln_post")(last.pre_norm_of_one(x, first(x)))
    features = op.matmul(op.squeeze(pooled, ints(1)), weight(state["visual.proj"]), False, False)
    return Graph([features], [image], "open_clip-image")


def open_clip_text(state: State, tower: Tower) -> Graph:
    """Returns the text tower of an open_clip `CLIP`.

    Inputs: `input_ids` `[B, T]` in i32, and the place of each text's end mark, `[B]` in i64. Output: features `[B, D]`.
    """
    input_ids = op.parameter([-1, -1], np.int32, name="input_ids")
    end = op.parameter([-1], np.int64, name="end")
    words = op.gather(weight(state["token_embedding.weight"]), input_ids, ints(0))
    x = op.add(words, first_rows(state["positional_embedding"], input_ids))
    *blocks, last = _open_clip_blocks(state, "transformer", tower)
    for block in blocks:
        x = block.pre_norm(x, causal=True)
    pooled = norm_of(state, "ln_final")(last.pre_norm_of_one(x, end, bias=hide_behind(x, end)))
    features = op.matmul(op.squeeze(pooled, ints(1)), weight(state["text_projection"]), False, False)
    return Graph([features], [input_ids, end], "open_clip-text")


def chinese_image(state: State, tower: Tower, pixels: Pixels) -> Graph:
    """Returns the image tower of a Chinese-CLIP: u8 pixels `[B, S, S, 3]` to features `[B, D]`."""
    image = op.parameter([-1, -1, -1, 3], np.uint8, name="pixels")
    model = "vision_model"
    x = embed_pixels(image, state[f"{model}.embeddings.patch_embedding.weight"], mean=pixels.mean, std=pixels.std)
    x = prepend(state[f"{model}.embeddings.class_embedding"], x)
    x = op.add(x, weight(state[f"{model}.embeddings.position_embedding.weight"]))
    x = norm_of(state, f"{model}.pre_layrnorm")(x)
    *blocks, last = [_chinese_block(state, prefix, tower) for prefix in _layers(state, f"{model}.encoder.layers")]
    for block in blocks:
        x = block.pre_norm(x)
    pooled = norm_of(state, f"{model}.post_layernorm")(last.pre_norm_of_one(x, first(x)))
    return Graph([dense_of(state, "visual_projection")(op.squeeze(pooled, ints(1)))], [image], "chinese_clip-image")


def chinese_text(state: State, tower: Tower) -> Graph:
    """Returns the text tower of a Chinese-CLIP, a BERT.

    Inputs: `input_ids` `[B, T]` in i32, `attention_mask` `[B, T]` in fp32, 0 for padding. Output: features `[B, D]`.
    """
    input_ids = op.parameter([-1, -1], np.int32, name="input_ids")
    mask = op.parameter([-1, -1], np.float32, name="attention_mask")
    x = bert_embeddings(state, input_ids, "text_model.embeddings")
    *blocks, last = [
        bert_block(state, prefix, heads=tower.heads) for prefix in _layers(state, "text_model.encoder.layer")
    ]
    bias = hide_padding(mask)
    for block in blocks:
        x = block.post_norm(x, bias=bias)
    pooled = op.squeeze(last.post_norm_of_one(x, first(x), bias=bias), ints(1))
    return Graph([dense_of(state, "text_projection")(pooled)], [input_ids, mask], "chinese_clip-text")


def _open_clip_blocks(state: State, transformer: str, tower: Tower) -> list[TransformerBlock]:
    return [_open_clip_block(state, prefix, tower) for prefix in _layers(state, f"{transformer}.resblocks")]


def _open_clip_block(state: State, prefix: str, tower: Tower) -> TransformerBlock:
    q, k, v = (
        Dense(matrix, bias)
        for matrix, bias in zip(
            np.split(state[f"{prefix}.attn.in_proj_weight"], 3),
            np.split(state[f"{prefix}.attn.in_proj_bias"], 3),
            strict=True,
        )
    )
    return TransformerBlock(
        q=q,
        k=k,
        v=v,
        out=dense_of(state, f"{prefix}.attn.out_proj"),
        norm1=norm_of(state, f"{prefix}.ln_1"),
        norm2=norm_of(state, f"{prefix}.ln_2"),
        up=dense_of(state, f"{prefix}.mlp.c_fc"),
        down=dense_of(state, f"{prefix}.mlp.c_proj"),
        heads=tower.heads,
        activation=ACTIVATIONS[tower.activation],
    )


def _chinese_block(state: State, prefix: str, tower: Tower) -> TransformerBlock:
    return TransformerBlock(
        q=dense_of(state, f"{prefix}.self_attn.q_proj"),
        k=dense_of(state, f"{prefix}.self_attn.k_proj"),
        v=dense_of(state, f"{prefix}.self_attn.v_proj"),
        out=dense_of(state, f"{prefix}.self_attn.out_proj"),
        norm1=norm_of(state, f"{prefix}.layer_norm1"),
        norm2=norm_of(state, f"{prefix}.layer_norm2"),
        up=dense_of(state, f"{prefix}.mlp.fc1"),
        down=dense_of(state, f"{prefix}.mlp.fc2"),
        heads=tower.heads,
        activation=ACTIVATIONS[tower.activation],
    )


def _layers(state: State, prefix: str) -> list[str]:
    """Returns the prefixes of all layers, in order."""
    numbers = {int(name[len(prefix) + 1 :].partition(".")[0]) for name in state if name.startswith(f"{prefix}.")}
    return [f"{prefix}.{number}" for number in sorted(numbers)]
