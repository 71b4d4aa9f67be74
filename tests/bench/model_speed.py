"""Speed and memory of the models at true width, with random weights: `python -m tests.bench.model_speed [1|2]`.

On a GPU the models have their full depth, in bf16, and decoding is compared with the measured memory bandwidth, reading
a prompt with the measured rate of matrix products. Without one, the depth is two layers and the line says so: shares
still hold for those layers, tokens per second do not carry over.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from PIL import Image
from torch import Tensor
from transformers import Blip2QFormerConfig, Blip2VisionConfig, CLIPVisionConfig, LlamaConfig

from tests.bench import machine
from tests.checkpoints import write_checkpoint
from xcomp_model.base import ImagePart, ModelFailure, Prompt, Prompts, Sampling, Section, never
from xcomp_model.decoding import TokenSampler
from xcomp_model.xcomposer.architecture import build
from xcomp_model.xcomposer.architecture.config import Config, XComposer1Config, read_config
from xcomp_model.xcomposer.architecture.plora import PLoRALinear
from xcomp_model.xcomposer.architecture.xcomposer2 import XComposer2
from xcomp_model.xcomposer.model import ModelInfo, XComposer
from xcomp_model.xcomposer.prompts import v1, v2
from xcomp_model.xcomposer.runtime.device import DevicePlacement, find_placement
from xcomp_model.xcomposer.runtime.memory_plan import FEATURES_BYTES, make_plan
from xcomp_model.xcomposer.runtime.runner import Runner
from xcomp_model.xcomposer.tokenizer import Tokenizer, Unit
from xcomp_model.xcomposer.weights import convert

_REDUCED_LAYERS = 2
_NEW_TOKENS = 32
_CONTEXT = 4096
_PAIRS = 7
_SECTION = "a cat on a mat " * 12
_TRUE_SIZES = {
    1: {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": 32,
        "vocab_size": 103168, "attention_bias": True, "rms_norm_eps": 1e-5},
    2: {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 92544, "attention_bias": False, "rms_norm_eps": 1e-5},
}  # fmt: skip


def main() -> None:
    """Prints a table for each version."""
    placement = find_placement("auto", "auto")
    layers = 32 if placement.main.type == "cuda" else _REDUCED_LAYERS
    print(machine.line(f"python -m tests.bench.model_speed {' '.join(sys.argv[1:])}".strip()))
    what = torch.cuda.get_device_name() if placement.main.type == "cuda" else "CPU, reduced to two layers each"
    print(f"{what}, {placement.dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    bandwidth, rate = _bandwidth(placement), _matmul_rate(placement)
    print(f"measured: {bandwidth / 1e9:.1f} GB/s read, {rate / 1e12:.3f} TFLOP/s in matrix products\n")
    for version in [int(v) for v in sys.argv[1:]] or [1, 2]:
        _measure(version, placement, layers=layers, bandwidth=bandwidth, rate=rate)


def _measure(version: int, placement: DevicePlacement, *, layers: int, bandwidth: float, rate: float) -> None:
    config = _config(version, layers=layers)
    network = _random(config, placement)
    model, runner = _model(config, network, placement)
    weights = {n: p for n, p in network.llm.model.layers.named_parameters() if "plora" not in n}
    read_bytes = sum(p.nbytes for p in weights.values()) + network.llm.lm_head.weight.nbytes
    operations = 2 * sum(p.numel() for p in weights.values() if p.dim() > 1)

    first, text_only = model.prompts.choose(_sections(2), _images(0)), model.prompts.spot(_lines(10))
    rows, text_rows = model.count_tokens(first), model.count_tokens(text_only)
    cold_s = _timed(placement, lambda: _choose(model, first))
    warm_s = _timed(placement, lambda: _choose(model, model.prompts.choose(_sections(3), _images(4))))
    prefill_s = _timed(placement, lambda: _read(runner, model._tokenizer.encode_prompt(text_only)))
    decode_s = _decode_s(runner, model._tokenizer.encode_prompt(model.prompts.spot(_lines(1))), placement)

    print(
        f"version {version}, {layers} layers, {sum(p.nbytes for p in network.parameters()) / 2**30:.2f} GiB of weights"
    )
    print(
        f"  decode             {1 / decode_s:8.1f} tokens/s: {read_bytes / decode_s / bandwidth:.2f} of the bandwidth"
    )
    share = operations * text_rows / prefill_s / rate
    print(f"  prefill            {text_rows / prefill_s:8.0f} positions/s of text: {share:.2f} of the matrix rate")
    print(f"  selection, cold    {cold_s:8.2f} s: {rows} positions, 4 images to encode")
    print(f"  selection, cached  {warm_s:8.2f} s: the next spot, 4 images to encode")
    if isinstance(network, XComposer2):
        decoding, reading = _plora_overhead(network, placement)
        print(f"  partial LoRA       {decoding:+8.1%} on decoding, {reading:+.1%} on reading the rows of four images")
    if placement.main.type == "cuda":
        plan, peak = make_plan("", config, placement, context_tokens=2048), torch.cuda.max_memory_allocated()
        print(f"  memory             {peak / 2**30:8.2f} GiB at its peak, {plan.total / 2**30:.2f} planned")
    print()


def _config(version: int, *, layers: int) -> Config:
    with tempfile.TemporaryDirectory() as name:
        config = read_config(write_checkpoint(version, Path(name)))
    llm = LlamaConfig.from_dict(
        _TRUE_SIZES[version] | {"num_hidden_layers": layers, "rope_parameters": config.llm.rope_parameters}
    )
    is_reduced = layers == _REDUCED_LAYERS
    if isinstance(config, XComposer1Config):
        vision = Blip2VisionConfig(num_hidden_layers=layers if is_reduced else 39)
        return replace(config, vision=vision, sampler=Blip2QFormerConfig(), llm=llm, image_size=224, queries=64)
    tower = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_attention_heads=16, patch_size=14, image_size=224,
        num_hidden_layers=layers if is_reduced else 24, hidden_act="quick_gelu",
    )  # fmt: skip
    return replace(config, vision=tower, llm=llm, image_size=224, patches=256, plora_rank=256)


def _random(config: Config, placement: DevicePlacement) -> build.Network:
    network = build.build(config)
    owners = convert._find_owners(network)
    for name, shape in build.parameter_shapes(network).items():
        tensor = torch.empty(shape, dtype=build.dtype_of(name, config, placement.dtype), device=placement.main)
        parameter = torch.nn.Parameter(tensor.uniform_(-0.03, 0.03), requires_grad=False)
        for module, attribute in owners[name]:
            setattr(module, attribute, parameter)
    convert._fill_buffers(network, placement.main)
    return network


def _model(
    config: Config, network: build.Network, placement: DevicePlacement, *, context_tokens: int = _CONTEXT
) -> tuple[XComposer, Runner]:
    is_first = isinstance(config, XComposer1Config)
    family = v1 if is_first else v2
    with tempfile.TemporaryDirectory() as name:
        folder = write_checkpoint(1 if is_first else 2, Path(name))
        tokenizer = Tokenizer(folder / "tokenizer.model", family.MARKS)
    plan = make_plan("", config, placement, context_tokens=context_tokens)
    runner = Runner(network, placement, features_bytes=FEATURES_BYTES, prompts_bytes=plan.kv)
    info = ModelInfo("random", "", context_tokens, ends=family.ENDS, lead_ins=family.LEAD_INS)

    def prompts(count: Callable[[Prompt], int]) -> Prompts:
        if is_first:
            return v1.Prompts1(count, context_tokens=context_tokens)
        return v2.Prompts2(count, context_tokens=context_tokens)

    return XComposer(runner, tokenizer, info, build_prompts=prompts), runner


def _lines(count: int) -> list[str]:
    return [f"{i} {_SECTION}" for i in range(count)]


def _sections(count: int) -> list[Section]:
    return [Section(f"{i} {_SECTION}") for i in range(count)]


def _images(first: int) -> Sequence[ImagePart]:
    return [ImagePart(f"{i}", Image.new("RGB", (224, 224), (i * 20, 9, 9))) for i in range(first, first + 4)]


def _choose(model: XComposer, prompt: Prompt) -> None:
    with suppress(ModelFailure):  # random weights do not follow the prompt; the work is the same
        model.choose(prompt, "ABCD")


def _decode_s(runner: Runner, units: Sequence[Unit], placement: DevicePlacement) -> float:
    """Returns the seconds of a greedy token after a short prompt, including its drawing."""
    drawer = TokenSampler(Sampling(), device=runner.device)
    with (
        runner.read_prompt(units, more=_NEW_TOKENS, is_cancelled=never) as (prefix, logits),
        runner.join_batch(prefix) as read_token,
    ):

        def decode() -> None:
            scores = logits
            for _ in range(_NEW_TOKENS):
                scores = read_token(drawer.draw(scores))

        return _timed(placement, decode) / _NEW_TOKENS


def _read(runner: Runner, units: Sequence[Unit]) -> None:
    with runner.read_prompt(units, more=0, is_cancelled=never):
        pass


@torch.inference_mode()
def _plora_overhead(network: XComposer2, placement: DevicePlacement) -> tuple[float, float]:
    """Returns what the low-rank parts add to one position of text and to 1,024 image rows; medians of paired runs."""
    width = network.llm.config.hidden_size
    rows = torch.randn(1, 4 * network.rows_per_image, width, device=placement.main, dtype=placement.dtype)
    images, text = torch.ones(rows.shape[:2], dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)

    def run(embeds: Tensor, mask: Tensor) -> float:
        with network.image_rows(mask.to(placement.main)):
            return _timed(placement, lambda: network.llm.model(inputs_embeds=embeds, use_cache=False))

    decoding = [_against_plain(lambda: run(rows[:, :1], text)) for _ in range(_PAIRS)]
    reading = [_against_plain(lambda: run(rows, images)) for _ in range(_PAIRS)]
    return statistics.median(decoding), statistics.median(reading)


def _against_plain(seconds: Callable[[], float]) -> float:
    """Returns the share of time that the low-rank parts add to the same linears."""

    def plain(linear: PLoRALinear, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, linear.weight, linear.bias)

    seconds()  # warm
    with_parts = seconds()
    with mock.patch.object(PLoRALinear, "forward", plain):
        return with_parts / seconds() - 1


def _timed(placement: DevicePlacement, work: Callable[[], object]) -> float:
    _wait(placement)
    started = time.perf_counter()
    work()
    _wait(placement)
    return time.perf_counter() - started


def _wait(placement: DevicePlacement) -> None:
    if placement.main.type == "cuda":
        torch.cuda.synchronize()


def _bandwidth(placement: DevicePlacement) -> float:
    """Returns the bytes per second of a sum over much more memory than any cache has."""
    data = torch.ones(1 << 28, dtype=torch.float32, device=placement.main)
    data.sum()
    return data.nbytes * 3 / _timed(placement, lambda: [data.sum() for _ in range(3)])


def _matmul_rate(placement: DevicePlacement) -> float:
    """Returns the operations per second of a product as large as the decoder's."""
    a = torch.randn(512, 4096, dtype=placement.dtype, device=placement.main)
    b = torch.randn(4096, 11008, dtype=placement.dtype, device=placement.main)
    a @ b
    return 3 * 2 * 512 * 4096 * 11008 / _timed(placement, lambda: [a @ b for _ in range(3)])


if __name__ == "__main__":
    main()
