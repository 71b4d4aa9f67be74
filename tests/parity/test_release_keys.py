"""Every key of the released indices has a parameter in a model of full size, and every parameter is filled."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.parity.reference import reference_folder
from xcomp_model.base import ModelFailure
from xcomp_model.xcomposer.architecture.build import (
    Network,
    build,
    parameter_shapes,
)
from xcomp_model.xcomposer.architecture.config import XComposer1Config, XComposer2Config, read_config
from xcomp_model.xcomposer.runtime.device import DevicePlacement
from xcomp_model.xcomposer.runtime.memory_plan import make_plan
from xcomp_model.xcomposer.weights import rules_v2
from xcomp_model.xcomposer.weights.convert import (
    layout_of,
)
from xcomp_model.xcomposer.weights.mapping import LORA, Layout

pytestmark = pytest.mark.reference

# Fact: parameters of version 1.0 with its low-rank updates merged; the modules count the zero biases of the keys too.
MERGED_1, ZERO_BIASES = 8_416_190_336, 39 * 1408
LORA_PARAMETERS = 381_681_664
FP16_BYTES_1 = {"internlm-xcomposer-7b": 18_577_196_288, "internlm-xcomposer-vl-7b": 18_577_229_056}


def folder_of(name: str, tmp_path: Path, version: int) -> Path:
    source = reference_folder(f"xcomposer-{version}")
    config = source / (f"config-{name}.json" if version == 1 else "config.values.json")
    raw = json.loads(config.read_text(encoding="utf-8"))
    if version == 2:
        raw |= {"img_size": 490 if "-vl-" in name else 224}
        raw["vision_tower"].pop("base")
    (tmp_path / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    return tmp_path


def sources_needed(layout: Layout, network: Network) -> Iterator[tuple[str, str]]:
    for target in parameter_shapes(network):
        for role in layout.needs(target):
            yield target, role


@pytest.mark.parametrize("name", ["internlm-xcomposer-7b", "internlm-xcomposer-vl-7b"])
def test_every_released_key_is_used_and_every_parameter_filled(tmp_path: Path, name: str) -> None:
    index = reference_folder("xcomposer-1") / f"{name}.index.json"
    keys = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    config = read_config(folder_of(name, tmp_path, 1))
    assert isinstance(config, XComposer1Config)
    layout, network = layout_of(config), build(config)
    fed = [(target, role) for key in keys for target, role in layout.targets(key)]
    assert len(fed) == len(keys) == 1480, "each key has exactly one place"
    assert sum(target is None for target, _ in fed) == 33
    assert sum(role in LORA - {"weight"} for _, role in fed) == 256
    places = [placement for placement in fed if placement[0] is not None]
    assert len(places) == len(set(places)), "no place is fed twice"
    assert set(places) == set(sources_needed(layout, network))


@pytest.mark.parametrize(("name", "extra"), [("internlm-xcomposer-7b", 0), ("internlm-xcomposer-vl-7b", 2 * 2 * 4096)])
def test_full_size_of_version_1_counts_as_released(tmp_path: Path, name: str, extra: int) -> None:
    config = read_config(folder_of(name, tmp_path, 1))
    network = build(config)
    assert all(parameter.is_meta for parameter in network.parameters())
    total = sum(parameter.numel() for parameter in network.parameters())
    assert total == MERGED_1 + ZERO_BIASES + extra
    assert network.rows_per_image == 66


@pytest.mark.parametrize(
    ("name", "vision", "rows"),
    [("internlm-xcomposer2-7b", 303_177_728, 256), ("internlm-xcomposer2-vl-7b", 304_169_984, 1225)],
)
def test_full_size_of_version_2_counts_by_part(tmp_path: Path, name: str, vision: int, rows: int) -> None:
    config = read_config(folder_of(name, tmp_path, 2))
    plan = make_plan(name, config, DevicePlacement("cpu", torch.float16), context_tokens=4096)
    assert {part: size // 2 for part, size in plan.weights.items()} == {
        "vision": vision, "projector": 20_979_712, "decoder": 7_737_708_544, "partial LoRA": 603_979_776,
    }  # fmt: skip
    assert plan.kv_per_token == 131_072
    assert build(config).rows_per_image == rows


def test_keys_of_version_2_fill_a_full_size_model(tmp_path: Path) -> None:
    config = read_config(folder_of("internlm-xcomposer2-7b", tmp_path, 2))
    assert isinstance(config, XComposer2Config)
    layout, network = rules_v2.layout(config), build(config)
    fed = {placement for key in released_keys_2() for placement in layout.targets(key)}
    assert all(layout.targets(key) for key in released_keys_2())
    assert {placement for placement in fed if placement[0] is not None} == set(sources_needed(layout, network))


def released_keys_2() -> Iterator[str]:
    """Yields the names of the fact sheet; no index of this release was available."""
    yield from ("model.tok_embeddings.weight", "model.norm.weight", "output.weight")
    yield from (f"vision_proj.{part}" for part in ("0.weight", "0.bias", "2.weight", "2.bias"))
    yield from (f"vit.vision_tower.vision_model.{key}" for key in released_tower_keys())
    for i in range(32):
        layer = f"model.layers.{i}."
        yield from (f"{layer}attention_norm.weight", f"{layer}ffn_norm.weight")
        for linear in ("attention.wqkv", "attention.wo", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3"):
            yield from (f"{layer}{linear}.{part}" for part in ("weight", "Plora_A.weight", "Plora_B.weight"))


def released_tower_keys() -> Iterator[str]:
    parts = [
        "layer_norm1",
        "layer_norm2",
        "mlp.fc1",
        "mlp.fc2",
        *(f"self_attn.{n}_proj" for n in ("q", "k", "v", "out")),
    ]
    yield from (
        f"embeddings.{part}" for part in ("class_embedding", "patch_embedding.weight", "position_embedding.weight")
    )
    for kind in ("weight", "bias"):
        yield f"pre_layrnorm.{kind}"
        yield from (f"encoder.layers.{j}.{part}.{kind}" for j in range(24) for part in parts)


@pytest.mark.parametrize("name", ["internlm-xcomposer-7b", "internlm-xcomposer-vl-7b"])
def test_bytes_of_the_release_follow_from_its_dtypes(tmp_path: Path, name: str) -> None:
    config = read_config(folder_of(name, tmp_path, 1))
    network = build(config)
    half = sum(p.numel() for n, p in network.named_parameters() if is_half(n))
    zero_thirds = ZERO_BIASES  # not in the files
    full = sum(p.numel() for n, p in network.named_parameters() if not is_half(n)) - zero_thirds + LORA_PARAMETERS
    dropped = 32 * 64 * 2 + 512 * 8  # rotary frequencies in fp16, one position table of int64
    assert 2 * half + 4 * full + dropped == FP16_BYTES_1[name]


def is_half(name: str) -> bool:
    if name.startswith("llm."):
        return True
    is_norm = "norm" in name or name.endswith(
        ("embeddings.class_embedding", "embeddings.position_embedding", "qkv.bias")
    )
    return name.startswith("vision.") and not is_norm


def test_a_model_that_does_not_fit_is_refused_with_its_plan(tmp_path: Path) -> None:
    config = read_config(folder_of("internlm-xcomposer-7b", tmp_path, 1))
    plan = make_plan("internlm-xcomposer-7b", config, DevicePlacement("cpu", torch.float16), context_tokens=2048)
    assert plan.kv_per_token == 524_288
    assert "GiB" in plan.refusal()
    assert "\n" not in plan.refusal()
    assert plan.headroom == plan.free - plan.total


def test_other_models_are_refused_by_their_type(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(ModelFailure, match="type 'llama'"):
        read_config(tmp_path)
