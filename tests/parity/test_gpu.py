"""The same answers on a GPU as on the CPU; skipped with a message without a GPU."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.checkpoints import GOLDEN, golden_folder, write_checkpoint
from xcomp_model import load
from xcomp_model.base import ImagePart, Runtime, Section
from xcomp_model.xcomposer.runtime.device import DevicePlacement
from xcomp_model.xcomposer.weights import convert

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
TOLERANCE = 1e-3  # matrix products of a GPU add up in another order


@torch.inference_mode()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_version_1_matches_the_golden_logits(tmp_path: Path, attention: str) -> None:
    golden = load_file(GOLDEN / "xcomposer1" / "io.safetensors", device="cuda")
    network = convert.load(golden_folder(1, tmp_path), DevicePlacement("cuda:0", torch.float32), attention=attention)
    rows = network.encode_images(golden["in.pixel_values"])
    assert (rows - golden["image.embeds_with_flags"]).abs().max() < TOLERANCE
    logits = network.llm(inputs_embeds=golden["interleaved.inputs_embeds"]).logits
    assert (logits - golden["interleaved.logits"]).abs().max() < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_version_2_matches_the_golden_logits(tmp_path: Path, attention: str) -> None:
    golden = load_file(GOLDEN / "xcomposer2" / "io.safetensors", device="cuda")
    network = convert.load(golden_folder(2, tmp_path), DevicePlacement("cuda:0", torch.float32), attention=attention)
    with network.image_rows(golden["mix/im_mask"].bool()):
        logits = network.llm(inputs_embeds=golden["mix/inputs_embeds"]).logits
    assert (logits - golden["mix/logits"]).abs().max() < TOLERANCE


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 2e-2), ("bf16", 5e-2)])
def test_choices_agree_with_those_of_the_cpu(version: int, precision: str, tolerance: float, tmp_path: Path) -> None:
    folder = str(write_checkpoint(version, tmp_path))
    images = [ImagePart(f"p{i}", Image.new("RGB", (40, 40), (60 * i, 90, 20))) for i in range(4)]
    choices = []
    for runtime in (Runtime(device="cpu", precision="fp32"), Runtime(device="cuda", precision=precision)):
        model = load(folder, runtime)
        choices.append(model.choose(model.prompts.choose([Section("a cat")], images), "ABCD"))
    assert choices[1].probabilities == pytest.approx(choices[0].probabilities, abs=tolerance)


def test_layers_on_several_gpus_give_the_same_answers(tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("fewer than two CUDA devices")
    folder = str(write_checkpoint(2, tmp_path))
    prompt_of = [Section("a cat")]
    images = [ImagePart(f"p{i}", Image.new("RGB", (40, 40), (60 * i, 90, 20))) for i in range(4)]
    choices = []
    for device in ("cuda:0", "spread"):
        model = load(folder, Runtime(device=device, precision="fp32"))
        choices.append(model.choose(model.prompts.choose(prompt_of, images), "ABCD"))
    assert choices[1].probabilities == pytest.approx(choices[0].probabilities, abs=1e-4)
