"""Reads released `config.json` files into the configurations of the modules that the models are built from.

The released files say little about the image side, which is the same in all releases; its sizes stand here. A folder
may override them (`vision_tower`, `sampler`, `plora`) to describe a smaller model of the same shape.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import Blip2QFormerConfig, Blip2VisionConfig, CLIPVisionConfig, LlamaConfig

from xcomp_model.base import ModelFailure

Json = dict[str, object]

# CLIP ViT-L/14 as its authors released it; the position table is that of the checkpoint.
_CLIP_VIT_L: Json = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "patch_size": 14, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
_LLM_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "bos_token_id", "eos_token_id",
)  # fmt: skip


@dataclass(frozen=True)
class XComposer1Config:
    """InternLM-XComposer 1.0.

    Attributes:
        queries: learned query tokens of the sampler.
        lora_scale: alpha / rank of the low-rank updates still to be merged; None without updates.
        is_quantised: the decoder's linears are 4-bit.
    """

    vision: Blip2VisionConfig
    sampler: Blip2QFormerConfig
    llm: LlamaConfig
    image_size: int
    queries: int
    lora_scale: float | None
    is_quantised: bool
    is_converted: bool
    context_tokens: int


@dataclass(frozen=True)
class XComposer2Config:
    """InternLM-XComposer2."""

    vision: CLIPVisionConfig
    llm: LlamaConfig
    image_size: int
    patches: int
    plora_rank: int
    plora_scale: float
    is_converted: bool
    context_tokens: int


Config = XComposer1Config | XComposer2Config


def read_config(folder: Path) -> Config:
    """Reads the `config.json` of a folder.

    Raises:
        ModelFailure: it is missing, broken, or of another model.
    """
    raw = read_json(folder / "config.json")
    kind = str(raw.get("model_type", "")).lower()
    readers: dict[str, Callable[[Json, Path], Config]] = {"internlmxcomposer": _read_1, "internlmxcomposer2": _read_2}
    if kind not in readers:
        raise ModelFailure(f"{folder} is a model of type {kind or 'unknown'!r}, not InternLM-XComposer 1.0 or 2")
    try:
        return readers[kind](raw, folder)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFailure(f"{folder / 'config.json'} is incomplete or wrong: {error}") from error


def _read_1(raw: Json, folder: Path) -> XComposer1Config:
    lora = _table(raw, "internlm_lora")
    tower = {"image_size": 224} | _table(raw, "vision_tower")
    # Without the padding id of the files, -1: it would turn the last row of the embedding into a padding row.
    llm = LlamaConfig.from_dict(
        _llm(raw, theta=10000.0) | {"attention_bias": raw["kqvo_bias"], "mlp_bias": False, "pad_token_id": None}
    )
    return XComposer1Config(
        vision=Blip2VisionConfig.from_dict(tower),
        sampler=Blip2QFormerConfig.from_dict(_table(raw, "sampler")),
        llm=llm,
        image_size=_int(tower, "image_size", 224),
        queries=_int(raw, "num_query_token", 64),
        lora_scale=_float(lora, "lora_alpha", 256) / _float(lora, "lora_r", 256) if lora else None,
        is_quantised=_is_quantised(folder),
        is_converted="xcomp_format" in raw,
        context_tokens=_int(raw, "max_position_embeddings", 2048),
    )


def _read_2(raw: Json, _: Path) -> XComposer2Config:
    plora = _table(raw, "plora")
    llm = LlamaConfig.from_dict(
        _llm(raw, theta=1e6) | {"attention_bias": False, "mlp_bias": False, "pad_token_id": raw.get("pad_token_id", 2)}
    )
    image_size = _int(raw, "img_size", 224)
    overrides = _table(raw, "vision_tower")
    tower = {"image_size": image_size} | {name: overrides.get(name, value) for name, value in _CLIP_VIT_L.items()}
    return XComposer2Config(
        vision=CLIPVisionConfig.from_dict(tower),
        llm=llm,
        image_size=image_size,
        patches=(image_size // _int(tower, "patch_size", 14)) ** 2,
        plora_rank=_int(plora, "rank", 256),
        plora_scale=_float(plora, "alpha", 256) / _float(plora, "rank", 256),
        is_converted="xcomp_format" in raw,
        context_tokens=_int(raw, "max_length", 4096),
    )


def _is_quantised(folder: Path) -> bool:
    path = folder / "quantize_config.json"
    if not path.is_file():
        return False
    bits = read_json(path).get("bits")
    if bits != 4:
        raise ValueError(f"{path.name} says {bits!r} bits; only 4 can be unpacked")
    return True


def _llm(raw: Json, *, theta: float) -> Json:
    rotary = {"rope_type": "default", "rope_theta": _float(raw, "rope_theta", theta)}
    return {name: raw[name] for name in _LLM_FIELDS if name in raw} | {"rope_parameters": rotary}


def _table(raw: Json, name: str) -> Json:
    value = raw.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{name} is not a table")
    return value


def _int(raw: Json, name: str, default: int) -> int:
    value = raw.get(name, default)
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}, not a positive whole number")
    return value


def _float(raw: Json, name: str, default: float) -> float:
    value = raw.get(name, default)
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, not a number")
    return float(value)


def read_json(path: Path) -> dict[str, object]:
    """Reads a JSON object; raises ModelFailure if the file is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFailure(f"{path} is missing: is {path.parent} a model folder?") from None
    except (OSError, ValueError) as error:
        raise ModelFailure(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelFailure(f"{path} does not hold a JSON object")
    return value
