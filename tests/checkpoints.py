"""Model folders in the released formats, small enough for tests: from the golden weights, or made up.

A made-up model has habits: its decoder hardly looks back, so the last token decides the next one. After the cue of a
selection it names a letter, after the cue of a spot `<Seg1>`, after the cue of a description `cat`.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"

# The sizes of tests/golden/xcomposer1/config.json, in the form of a model folder.
SIZES_1 = {
    "model_type": "InternLMXComposer", "vocab_size": 200, "hidden_size": 64, "intermediate_size": 172,
    "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
    "kqvo_bias": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": -1, "num_query_token": 6,
    "internlm_lora": {"lora_r": 4, "lora_alpha": 8, "learn_param": ["q", "v", "ffn"]},
    "vision_tower": {
        "image_size": 56, "patch_size": 14, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 279,
    },
    "sampler": {
        "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96,
        "encoder_hidden_size": 64,
    },
}  # fmt: skip
# Those of tests/golden/xcomposer2/config.json.
SIZES_2 = {
    "model_type": "internlmxcomposer2", "vocab_size": 200, "hidden_size": 64, "intermediate_size": 160,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    "max_length": 4096, "rms_norm_eps": 1e-5, "rope_theta": 1000000, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 2, "img_size": 56, "plora": {"rank": 8, "alpha": 8},
    "vision_tower": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 14,
    },
}  # fmt: skip
_SIZES: dict[int, dict[str, object]] = {1: SIZES_1, 2: SIZES_2}

_MARKS = {
    1: [f"<TOKENS_UNUSED_{i}>" for i in range(4)],
    2: [f"[UNUSED_TOKEN_{i}]" for i in range(144, 147)],
}
_END = {1: "<TOKENS_UNUSED_1>", 2: "[UNUSED_TOKEN_145]"}
_EMBEDDINGS = {1: "internlm_model.model.embed_tokens.weight", 2: "model.tok_embeddings.weight"}
_HEADS = {1: "internlm_model.lm_head.weight", 2: "output.weight"}
_NORMS = {1: "internlm_model.model.norm.weight", 2: "model.norm.weight"}
# What a layer adds to the stream of a position.
_ADDS = {1: ("o_proj", "down_proj.weight", "down_proj.lora_B"), 2: ("attention.wo.", "feed_forward.w2.")}
_CUES = ("最合适的图是", "适合插入图像的行是", '标题是"', "<Seg", "cat", "assistant\n", "<|Bot|>:")
# Sentences of the prompts, which take about as many tokens as in the releases.
_SENTENCES = (
    "根据给定上下文和候选图像，选择合适的配图：", "候选图像包括: ", "给定文章", "根据上述文章，选择适合插入图像的",
    " <|User|>:", "给出适合在", "后插入的图像对应的标题。", "根据给定标题写一个图文并茂，不重复的文章：",
)  # fmt: skip
_HABITS: Mapping[str, Mapping[str, float]] = {
    "最合适的图是": {"A": 1.2, "B": 0.0, "C": -0.3, "D": -0.6},
    "适合插入图像的行是": {"<Seg": 2.0},
    "<Seg": {"1": 2.0},
    "1": {">": 2.0},
    '标题是"': {"cat": 2.0},
    "cat": {'"': 2.0},
    "assistant\n": {"cat": 2.0},
    "<|Bot|>:": {"cat": 2.0},
}
_FULL_IMAGES: dict[int, tuple[str, tuple[int, ...], dict[str, object]]] = {
    1: ("query_tokens", (1, 64, 48), {"num_query_token": 64}),
    2: ("vit.vision_tower.vision_model.embeddings.position_embedding.weight", (257, 64), {"img_size": 224}),
}
_FIRM = 12.0  # logit of a habit, far above the others


def golden_folder(version: int, folder: Path, **changes: object) -> Path:
    """Writes the golden weights as a model folder; `changes` go into its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_SIZES[version] | changes), encoding="utf-8")
    (folder / "model.safetensors").symlink_to(GOLDEN / f"xcomposer{version}" / "weights.safetensors")
    return folder


def golden_weights(version: int) -> dict[str, Tensor]:
    """Returns the golden weights under their released names."""
    return load_file(GOLDEN / f"xcomposer{version}" / "weights.safetensors")


def write_checkpoint(
    version: int, folder: Path, *, shards: int = 2, full_images: bool = False, is_fair: bool = False
) -> Path:
    """Writes a made-up model with its tokenizer, as pickled shards with an index.

    With `full_images`, an image takes as many positions as in the releases: 66 in version 1.0, 256 in version 2. A fair
    model has no favourite letter: its random weights decide.
    """
    pieces = _write_tokenizer(version, folder)
    weights = made_up_weights(version, pieces, is_fair=is_fair)
    changes: dict[str, object] = {"vocab_size": len(pieces)}
    if full_images:
        generator = torch.Generator().manual_seed(7)
        key, shape, more = _FULL_IMAGES[version]
        weights[key] = torch.randn(shape, generator=generator)
        changes |= more
    write_config(version, folder, **changes)
    write_pickles(weights, folder, shards=shards)
    return folder


def write_config(version: int, folder: Path, **changes: object) -> None:
    """Writes the configuration of a made-up model."""
    (folder / "config.json").write_text(json.dumps(_SIZES[version] | changes), encoding="utf-8")


def write_pickles(weights: Mapping[str, Tensor], folder: Path, *, shards: int) -> None:
    """Writes weights as the releases do: `pytorch_model-00001-of-0000N.bin` and an index."""
    names = [f"pytorch_model-{i + 1:05}-of-{shards:05}.bin" for i in range(shards)]
    weight_map = {key: names[i * shards // len(weights)] for i, key in enumerate(weights)}
    for name in names:
        torch.save({key: weights[key] for key in weights if weight_map[key] == name}, folder / name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")


def write_safetensors(weights: Mapping[str, Tensor], folder: Path) -> None:
    """Writes weights into one file."""
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, folder / "model.safetensors")


def made_up_weights(version: int, pieces: Sequence[str], *, is_fair: bool = False) -> dict[str, Tensor]:
    """Returns the golden weights with another vocabulary, and habits."""
    weights = golden_weights(version)
    for key, tensor in weights.items():
        if any(part in key for part in _ADDS[version]):
            weights[key] = tensor * 0.2  # the stream stays close to the last token
    generator = torch.Generator().manual_seed(version)
    width = weights[_NORMS[version]].shape[0]
    embeddings = torch.randn(len(pieces), width, generator=generator)
    head = 0.02 * torch.randn(len(pieces), width, generator=generator)
    habits = {**_HABITS, _CUES[0]: dict.fromkeys(_HABITS[_CUES[0]], 0.0)} if is_fair else _HABITS
    for piece, nexts in {**habits, '"': {_END[version]: 2.0}, ">": {_END[version]: 2.0}}.items():
        stream = embeddings[pieces.index(piece)] if piece in pieces else torch.zeros(width)
        normed = weights[_NORMS[version]] * stream / stream.square().mean().add(1e-5).sqrt()
        for following, more in nexts.items():
            head[pieces.index(following)] += (_FIRM + more) * normed / normed.square().sum().clamp(min=1e-6)
    return weights | {_EMBEDDINGS[version]: embeddings, _HEADS[version]: head}


def _write_tokenizer(version: int, folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    letters = 'ABCDEFGHabcdefghijklmnopqrstuvwxyz0123456789<>,.:"|?'
    text = [*letters, *_SENTENCES, "a cat on a mat"]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text * 20), model_writer=model, model_type="bpe", vocab_size=600,
        user_defined_symbols=[*_MARKS[version], *_CUES], byte_fallback=True, normalization_rule_name="identity",
        add_dummy_prefix=False, remove_extra_whitespaces=False, split_digits=True, character_coverage=1.0,
        hard_vocab_limit=False, unk_id=0, bos_id=1, eos_id=2, num_threads=1, minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
