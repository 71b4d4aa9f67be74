"""Every stage of version 2 against numbers of its released code at small size (tests/golden/xcomposer2)."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation

from tests.checkpoints import GOLDEN, SIZES_2, golden_folder
from xcomp_model.base import ImagePart
from xcomp_model.xcomposer.architecture.plora import ImageRows, PLoRALinear
from xcomp_model.xcomposer.architecture.preprocess import pixel_values
from xcomp_model.xcomposer.architecture.xcomposer2 import (
    XComposer2,
)
from xcomp_model.xcomposer.runtime.device import DevicePlacement
from xcomp_model.xcomposer.weights.convert import load
from xcomp_model.xcomposer.weights.rules_v2 import (
    resize_positions,
)

CPU = DevicePlacement("cpu", torch.float32)
TOLERANCE = 5e-5
HIDDEN_TOLERANCE = 1e-4  # values reach 44

Golden = dict[str, Tensor]


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_file(GOLDEN / "xcomposer2" / "io.safetensors")


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> XComposer2:
    return fresh(tmp_path_factory.mktemp("golden2"), attention=request.param)


def fresh(folder: Path, *, attention: str = "sdpa", **changes: object) -> XComposer2:
    loaded = load(golden_folder(2, folder, **changes), CPU, attention=attention)
    assert isinstance(loaded, XComposer2)
    return loaded


def distance(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.mark.parametrize("size", [56, 126])
def test_preprocessing_is_exact(golden: Golden, size: int) -> None:
    image = ImagePart("p", Image.fromarray(golden["pre/raw_uint8_hwc"].numpy()))
    assert distance(pixel_values(image, size=size), golden[f"pre/pixel_{size}"]) < 1e-6


@torch.inference_mode()
def test_vision_tower_and_projector_match(network: XComposer2, golden: Golden) -> None:
    hidden = network.vision.pre_layrnorm(network.vision.embeddings(golden["vision/pixel_values"]))
    assert distance(hidden, golden["vision/hidden_0"]) < TOLERANCE
    for i, layer in enumerate(network.vision.encoder.layers, start=1):
        hidden = layer(hidden, attention_mask=None)
        assert distance(hidden, golden[f"vision/hidden_{i}"]) < TOLERANCE
    assert distance(network.encode_images(golden["vision/pixel_values"]), golden["proj/image_embeds"]) < TOLERANCE


@pytest.mark.parametrize("grid", [4, 9])
def test_position_tables_resize_as_released(golden: Golden, grid: int) -> None:
    resized = resize_positions(golden["pos/orig_grid6"], grid)
    assert distance(resized, golden[f"pos/resized_grid{grid}"]) < 1e-6


@pytest.mark.parametrize("grid", [4, 9])
@pytest.mark.parametrize("mistake", [{"align_corners": True}, {"antialias": True}])
def test_position_tables_resized_otherwise_would_show(golden: Golden, mistake: dict[str, bool], grid: int) -> None:
    table = golden["pos/orig_grid6"]
    map_ = table[1:].T.reshape(1, -1, 6, 6)
    resized = nn.functional.interpolate(map_, size=(grid, grid), mode="bicubic", **mistake)
    assert distance(resized.flatten(2)[0].T, golden[f"pos/resized_grid{grid}"][1:]) > 0.1


def test_a_table_of_another_grid_is_resized_once_with_a_warning(
    golden: Golden, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = fresh(tmp_path, img_size=126)  # the weights have the table of 56 pixels
    assert "resizing a position table of 17 rows to 82" in caplog.text
    network.vision.embeddings.position_embedding.weight.data = golden["pos/resized_grid9"]
    with torch.inference_mode():
        rows = network.encode_images(golden["vision_grid9/pixel_values"])
    assert distance(rows, golden["vision_grid9/image_embeds"]) < TOLERANCE


def test_partial_lora_adds_to_marked_rows_only(golden: Golden) -> None:
    unit = {name.split("/")[1]: tensor for name, tensor in golden.items() if name.startswith("plora_unit/")}
    rows = ImageRows()
    layer = PLoRALinear(nn.Linear(12, 10), 4, scale=2.0, rows=rows)
    layer.weight.data, layer.bias.data = unit["weight"], unit["bias"]
    layer.plora_a.data, layer.plora_b.data = unit["Plora_A.weight"], unit["Plora_B.weight"]
    with torch.inference_mode():
        with rows.mark(unit["mask"].bool()):
            assert distance(layer(unit["x"]), unit["y"]) < TOLERANCE
        assert distance(layer(unit["x"]), unit["y_nomask"]) < TOLERANCE


@torch.inference_mode()
def test_text_passes_no_partial_lora(network: XComposer2, golden: Golden) -> None:
    out = network.llm(input_ids=golden["text/input_ids"], output_hidden_states=True)
    for i, hidden in enumerate(out.hidden_states):
        assert distance(hidden, golden[f"text/hidden_{i}"]) < HIDDEN_TOLERANCE
    assert distance(out.logits, golden["text/logits"]) < TOLERANCE
    embeds, mask = golden["mix/inputs_embeds"], golden["mix/im_mask"].bool()
    with network.image_rows(torch.zeros_like(mask)):
        assert distance(network.llm(inputs_embeds=embeds).logits, golden["mix/logits_im_mask_off"]) < TOLERANCE


@torch.inference_mode()
def test_interleaved_prompt_matches(network: XComposer2, golden: Golden) -> None:
    embeds = interleaved(network, golden)
    assert distance(embeds, golden["mix/inputs_embeds"]) < TOLERANCE
    seen: dict[str, Tensor] = {}
    layer = network.llm.model.layers[0]
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
        for name, module in {
            **{f"{n}_proj": getattr(layer.self_attn, f"{n}_proj") for n in "qkv"},
            "mlp": layer.mlp,
        }.items()
    ]
    with network.image_rows(golden["mix/im_mask"].bool()):
        out = network.llm(inputs_embeds=embeds, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    for name in "qkv":
        wanted = golden[f"mix/layer0_{name}"]
        assert distance(seen[f"{name}_proj"].view(wanted.shape), wanted) < TOLERANCE, name
    assert distance(seen["mlp"], golden["mix/layer0_mlp_out"]) < TOLERANCE
    for i, hidden in enumerate(out.hidden_states):
        assert distance(hidden, golden[f"mix/hidden_{i}"]) < HIDDEN_TOLERANCE
    assert distance(out.logits, golden["mix/logits"]) < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("case", ["mix", "text"])
def test_greedy_ids_match(network: XComposer2, golden: Golden, case: str) -> None:
    if case == "mix":
        with network.image_rows(golden["mix/im_mask"].bool()):
            out = network.llm(inputs_embeds=golden["mix/inputs_embeds"], use_cache=True)
    else:
        out = network.llm(input_ids=golden["text/input_ids"], use_cache=True)
    ids = []
    for step in range(8):
        assert distance(out.logits[0, -1], golden[f"{case}/greedy_logits"][0, step]) < TOLERANCE
        ids.append(int(out.logits[0, -1].argmax()))
        out = network.llm(input_ids=torch.tensor([ids[-1:]]), cache=out.cache, use_cache=True)
    assert ids == golden[f"{case}/greedy_ids"][0].tolist()


@torch.inference_mode()
def test_left_padded_batch_matches_on_real_positions(network: XComposer2, golden: Golden) -> None:
    batch = {name.split("/")[1]: tensor for name, tensor in golden.items() if name.startswith("batch/")}
    real = batch["attention_mask"].bool()
    with network.image_rows(batch["im_mask"].bool()):
        out = network.llm(
            inputs_embeds=batch["inputs_embeds"], attention_mask=real.long(), position_ids=batch["position_ids"]
        ).logits
    assert distance(out[real], batch["logits"][real]) < TOLERANCE


@torch.inference_mode()
def test_rows_of_a_mixed_batch_equal_single_runs(network: XComposer2, golden: Golden) -> None:
    real = golden["batch/attention_mask"].bool()
    with network.image_rows(golden["batch/im_mask"]):
        batch = network.llm(
            inputs_embeds=golden["batch/inputs_embeds"],
            attention_mask=real.long(),
            position_ids=golden["batch/position_ids"],
        ).logits
    for row, case in enumerate(("mix", "mix2")):
        with network.image_rows(golden[f"{case}/im_mask"]):
            alone = network.llm(inputs_embeds=golden[f"{case}/inputs_embeds"]).logits[0]
        assert distance(batch[row][real[row]], alone) < TOLERANCE


@torch.inference_mode()
def test_text_and_answers_do_not_touch_the_low_rank_parts(golden: Golden, tmp_path: Path) -> None:
    network = fresh(tmp_path)
    with network.image_rows(golden["mix/im_mask"]):
        out = network.llm(inputs_embeds=golden["mix/inputs_embeds"], use_cache=True)
        for module in network.modules():
            if isinstance(module, PLoRALinear):
                del module.plora_b  # a product with it would fail
        network.llm(input_ids=torch.tensor([[5]]), cache=out.cache)
    network.llm(input_ids=golden["text/input_ids"])


def test_the_products_that_queries_keys_and_values_share_are_computed_once(golden: Golden) -> None:
    rows, weight = ImageRows(), torch.ones(4, 64)
    with rows.mark(golden["mix/im_mask"].bool()):
        x = golden["mix/inputs_embeds"]
        first, again = rows.lower(x, weight), rows.lower(x, weight)
        assert first is not None
        assert again is not None
        assert first[1] is again[1]
        assert first[1].shape == (32, 4), "only the rows of the two images"


def _cut_without_groups(network: XComposer2) -> None:
    for layer in network.llm.model.layers:  # the joint projection read as q | k | v
        parts = [getattr(layer.self_attn, f"{name}_proj") for name in "qkv"]
        fused = torch.cat([part.weight.view(2, -1, 16, 64) for part in parts], dim=1).flatten(0, 2)
        for part, weight in zip(parts, torch.split(fused, [64, 32, 32]), strict=True):
            part.weight.data = weight.clone()


def _double_scale(network: XComposer2) -> None:
    for module in network.modules():
        if isinstance(module, PLoRALinear):
            module._scale = 2.0


def _swap_gate_and_up(network: XComposer2) -> None:
    for layer in network.llm.model.layers:
        layer.mlp.gate_proj, layer.mlp.up_proj = layer.mlp.up_proj, layer.mlp.gate_proj


def _forget(name: str) -> Callable[[XComposer2], None]:
    def forget(network: XComposer2) -> None:
        for layer in network.llm.model.layers:
            part = layer.self_attn if name in ("q_proj", "o_proj") else layer.mlp
            getattr(part, name).plora_b.data.zero_()

    return forget


def _tanh_projector(network: XComposer2) -> None:
    network.projector[1] = nn.GELU(approximate="tanh")


def _quick_projector(network: XComposer2) -> None:
    network.projector[1] = QuickGELUActivation()


def _penultimate_layer(network: XComposer2) -> None:
    network.vision.encoder.layers = network.vision.encoder.layers[:-1]


def _plain_gelu_tower(network: XComposer2) -> None:
    for layer in network.vision.encoder.layers:
        layer.get_submodule("mlp").activation_fn = nn.GELU()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("mistake", "least"),
    [
        (_cut_without_groups, 1.0),
        (_double_scale, 1.0),
        (_swap_gate_and_up, 1.0),
        (_forget("q_proj"), 1.0),
        (_forget("o_proj"), 1.0),
        (_forget("gate_proj"), 1.0),
        (_forget("up_proj"), 1.0),
        (_forget("down_proj"), 1.0),
        (_tanh_projector, 4e-4),
        (_quick_projector, 0.02),
        (_penultimate_layer, 1.0),
        (_plain_gelu_tower, 0.05),
    ],
)
def test_typical_mistakes_would_show(
    golden: Golden, tmp_path: Path, mistake: Callable[[XComposer2], None], least: float
) -> None:
    network = fresh(tmp_path)
    mistake(network)
    with network.image_rows(golden["mix/im_mask"].bool()):
        logits = network.llm(inputs_embeds=interleaved(network, golden)).logits
    moved = max(
        distance(logits, golden["mix/logits"]),
        distance(network.encode_images(golden["vision/pixel_values"]), golden["proj/image_embeds"]),
    )
    assert moved > least


@torch.inference_mode()
@pytest.mark.parametrize("shift", ["everywhere", "by one"])
def test_a_wrong_mask_would_show(network: XComposer2, golden: Golden, shift: str) -> None:
    mask = golden["mix/im_mask"].bool()
    wrong = torch.ones_like(mask) if shift == "everywhere" else mask.roll(1, dims=1)
    with network.image_rows(wrong):
        logits = network.llm(inputs_embeds=golden["mix/inputs_embeds"]).logits
    assert distance(logits, golden["mix/logits"]) > 1.0


def interleaved(network: XComposer2, golden: Golden) -> Tensor:
    ids, mask = golden["mix/token_ids"], golden["mix/im_mask"].bool()
    embeds: Tensor = network.llm.model.embed_tokens(ids.clamp(min=0))
    embeds[mask] = network.encode_images(golden["vision/pixel_values"])[:2].flatten(0, 1)
    return embeds


def test_recorded_sizes_are_those_of_the_folder() -> None:
    recorded = json.loads((GOLDEN / "xcomposer2" / "config.json").read_text(encoding="utf-8"))
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_key_value_heads"):
        assert recorded["llm"][name] == SIZES_2[name]
