"""Every stage of version 1.0 against numbers of its released code at small size (tests/golden/xcomposer1)."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.checkpoints import GOLDEN, golden_folder
from xcomp_model.base import ImagePart, Sampling, never
from xcomp_model.decoding import TokenSampler
from xcomp_model.xcomposer.architecture.preprocess import pixel_values
from xcomp_model.xcomposer.architecture.xcomposer1 import HalfPrecisionRotary, XComposer1
from xcomp_model.xcomposer.runtime.device import DevicePlacement
from xcomp_model.xcomposer.runtime.runner import beam_search
from xcomp_model.xcomposer.weights.convert import load
from xcomp_model.xcomposer.weights.gptq import unpack

CPU = DevicePlacement("cpu", torch.float32)
TOLERANCE = 1e-4
HALF_STEP = 2**-11  # between neighbours of half precision around 1


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "xcomposer1" / "io.safetensors")


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> XComposer1:
    folder = golden_folder(1, tmp_path_factory.mktemp("golden1"))
    loaded = load(folder, CPU, attention=request.param)
    assert isinstance(loaded, XComposer1)
    return loaded


def distance(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@torch.inference_mode()
def test_vision_tower_matches_block_by_block(network: XComposer1, golden: dict[str, Tensor]) -> None:
    hidden = network.vision.embeddings(golden["in.pixel_values"])
    for i, block in enumerate(network.vision.encoder.layers):
        hidden = block(hidden)
        assert distance(hidden, golden[f"vit.block{i}"]) < TOLERANCE
    assert distance(network.vision.post_layernorm(hidden), golden["vision.ln_vision"]) < TOLERANCE


@torch.inference_mode()
def test_sampler_projection_and_flags_match(network: XComposer1, golden: dict[str, Tensor]) -> None:
    seen = network.qformer(
        query_embeds=network.query_tokens.expand(2, -1, -1), encoder_hidden_states=golden["vision.ln_vision"]
    ).last_hidden_state
    assert distance(seen, golden["qformer.last_hidden_state"]) < TOLERANCE
    assert distance(network.projector(seen), golden["projector.out"]) < TOLERANCE
    rows = network.encode_images(golden["in.pixel_values"])
    assert distance(rows, golden["image.embeds_with_flags"]) < TOLERANCE


@torch.inference_mode()
def test_norms_have_the_released_epsilons(network: XComposer1, golden: dict[str, Tensor]) -> None:
    layer = network.llm.model.layers[0]
    probes: list[tuple[Callable[[Tensor], Tensor], str, str]] = [
        (network.vision.post_layernorm, "vision_in", "ln_vision_out"),
        (network.vision.encoder.layers[0].get_submodule("layer_norm1"), "vision_in", "vit_block0_norm1_out"),
        (network.qformer.layernorm, "qformer_in", "qformer_embeddings_norm_out"),
        (layer.input_layernorm, "llm_small_in", "llm_layer0_input_norm_out"),
    ]
    for module, given, wanted in probes:
        assert distance(module(golden[f"probe.{given}"]), golden[f"probe.{wanted}"]) < TOLERANCE, wanted


@torch.inference_mode()
def test_linears_carry_their_biases_and_merged_updates(network: XComposer1, golden: dict[str, Tensor]) -> None:
    layer = network.llm.model.layers[0]
    for name in ("q", "k", "v", "o", "gate", "up"):
        module = getattr(layer.self_attn if name in "qkvo" else layer.mlp, f"{name}_proj")
        assert distance(module(golden["probe.llm_in"]), golden[f"probe.llm_layer0_{name}_out"]) < TOLERANCE, name
    down = layer.mlp.down_proj(golden["probe.llm_ffn_in"])
    assert distance(down, golden["probe.llm_layer0_down_out"]) < TOLERANCE


@torch.inference_mode()
def test_decoder_matches_on_text_images_and_padding(network: XComposer1, golden: dict[str, Tensor]) -> None:
    out = network.llm(input_ids=golden["in.text_ids"], output_hidden_states=True)
    assert distance(out.logits, golden["text.logits"]) < TOLERANCE
    for i, hidden in enumerate(out.hidden_states):
        assert distance(hidden, golden[f"text.hidden{i}"]) < TOLERANCE
    mixed = network.llm(inputs_embeds=golden["interleaved.inputs_embeds"]).logits
    assert distance(mixed, golden["interleaved.logits"]) < TOLERANCE
    mask = golden["in.padded_mask"]
    padded = network.llm(input_ids=golden["in.padded_ids"], attention_mask=mask).logits
    assert distance(padded[mask.bool()], golden["padded.logits"][mask.bool()]) < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("case", ["text", "interleaved"])
@pytest.mark.parametrize(("penalty", "wanted"), [(1.0, "greedy_ids"), (5.0, "greedy_rep5_ids")])
def test_greedy_ids_match(
    network: XComposer1, golden: dict[str, Tensor], case: str, penalty: float, wanted: str
) -> None:
    embeds = _embeds(network, golden, case)
    sampler = TokenSampler(Sampling(repetition_penalty=penalty), device=torch.device("cpu"))
    out = network.llm(inputs_embeds=embeds, use_cache=True)
    ids = []
    for step in range(8):
        if penalty == 1.0:
            assert distance(out.logits[0, -1], golden[f"{case}.greedy_logits"][0, step]) < TOLERANCE
        ids.append(sampler.draw(out.logits[0, -1]))
        out = network.llm(input_ids=torch.tensor([ids[-1:]]), cache=out.cache, use_cache=True)
    assert ids == golden[f"{case}.{wanted}"][0].tolist()


@torch.inference_mode()
@pytest.mark.parametrize("case", ["text", "interleaved"])
def test_beam_ids_match(network: XComposer1, golden: dict[str, Tensor], case: str) -> None:
    sampling = Sampling(beams=5, repetition_penalty=1.5, max_new_tokens=8)
    ids = beam_search(network, _embeds(network, golden, case), sampling, ends=[2], is_cancelled=never)
    assert ids == golden[f"{case}.beam5_rep1p5_ids"][0].tolist()


def test_preprocessing_is_exact(golden: dict[str, Tensor]) -> None:
    image = ImagePart("p", Image.fromarray(golden["pre.image_u8_hwc"].numpy()))
    assert torch.equal(pixel_values(image, size=224), golden["pre.pixel_values_224"])


def test_gptq_unpacking_is_exact(golden: dict[str, Tensor]) -> None:
    packed = {name: golden[f"gptq.{name}"] for name in ("qweight", "qzeros", "scales", "g_idx")}
    weight = unpack(packed["qweight"], packed["qzeros"], scales=packed["scales"], g_idx=packed["g_idx"])
    assert torch.equal(weight, golden["gptq.dequant_weight_out_in"])


def test_half_precision_rotary_matches_the_released_runtime(golden: dict[str, Tensor]) -> None:
    rotary = HalfPrecisionRotary(head_dim=128, theta=10000.0)
    frequencies = rotary.get_buffer("inv_freq")  # a power, of which the last bit is a processor's own
    torch.testing.assert_close(frequencies, golden["rope16.inv_freq"], rtol=2 * HALF_STEP, atol=0)
    frequencies.copy_(golden["rope16.inv_freq"])  # a last bit here is a turn at a far position
    cos, sin = rotary(torch.zeros(1, dtype=torch.float16), golden["rope16.positions"][None])
    half = golden["rope16.cos"].shape[-1]  # the golden holds one half of the head, the other is the same
    torch.testing.assert_close(cos[0, :, :half], golden["rope16.cos"], rtol=0, atol=HALF_STEP)
    torch.testing.assert_close(sin[0, :, :half], golden["rope16.sin"], rtol=0, atol=HALF_STEP)


@torch.inference_mode()
def test_forgotten_low_rank_updates_would_show(golden: dict[str, Tensor], tmp_path: Path) -> None:
    folder = golden_folder(1, tmp_path, internlm_lora={"lora_r": 4, "lora_alpha": 4})  # half the scale
    wrong = load(folder, CPU)
    assert distance(wrong.llm(input_ids=golden["in.text_ids"]).logits, golden["text.logits"]) > 1.0


def _embeds(network: XComposer1, golden: dict[str, Tensor], case: str) -> Tensor:
    if case == "text":
        embeds: Tensor = network.llm.model.embed_tokens(golden["in.text_ids"])
        return embeds
    words = [network.llm.model.embed_tokens(golden[f"in.interleaved_ids{i}"]) for i in range(3)]
    rows = network.encode_images(golden["in.pixel_values"])
    return torch.cat((words[0], rows[:1], words[1], rows[1:], words[2]), dim=1)
