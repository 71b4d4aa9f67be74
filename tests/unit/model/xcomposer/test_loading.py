"""From folders to modules: shards, merged and unpacked weights, conversion, and invalid folders."""

import json
import pickle
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import Tensor

from tests.checkpoints import (
    SIZES_1,
    golden_folder,
    golden_weights,
    write_checkpoint,
    write_config,
    write_pickles,
    write_safetensors,
)
from tests.nearness import ELEMENTWISE
from xcomp_model import load
from xcomp_model.base import ModelFailure, Runtime, Sampling, Text
from xcomp_model.xcomposer.architecture.build import Network, build
from xcomp_model.xcomposer.architecture.config import read_config
from xcomp_model.xcomposer.architecture.xcomposer1 import XComposer1
from xcomp_model.xcomposer.loading import compute_digest, convert_model, plan_model
from xcomp_model.xcomposer.runtime.device import DevicePlacement, find_placement
from xcomp_model.xcomposer.weights import convert

PLACE = DevicePlacement("cpu", torch.float32)


@pytest.fixture(params=[1, 2], ids=["version 1", "version 2"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def parameters(network: Network) -> dict[str, Tensor]:
    return dict(network.named_parameters())


def same(a: Network, b: Network) -> bool:
    """Whether all weights are equal; those of version 1 but for rounding, since updates are merged by a product."""
    left, right = parameters(a), parameters(b)
    near = ELEMENTWISE if isinstance(a, XComposer1) else 0.0
    return left.keys() == right.keys() and all(
        torch.allclose(left[name], right[name], rtol=near, atol=near) for name in left
    )


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_shards_may_split_a_model_anywhere(version: int, tmp_path: Path, shards: int) -> None:
    whole = convert.load(golden_folder(version, tmp_path / "whole"), PLACE)
    folder = tmp_path / "cut"
    folder.mkdir()
    write_config(version, folder)
    weights = golden_weights(version)
    generator = torch.Generator().manual_seed(shards)
    shuffled = [list(weights)[i] for i in torch.randperm(len(weights), generator=generator)]
    write_pickles({key: weights[key] for key in shuffled}, folder, shards=shards)
    assert same(convert.load(folder, PLACE), whole)


def test_conversion_writes_a_folder_that_loads_the_same(version: int, tmp_path: Path) -> None:
    source = write_checkpoint(version, tmp_path / "released")
    convert_model(str(source), tmp_path / "clean", precision="fp32")
    assert same(convert.load(source, PLACE), convert.load(tmp_path / "clean", PLACE))
    sampling = Sampling(max_new_tokens=6, temperature=1.0)
    texts = ["".join(load(str(f)).stream((Text("a cat"),), sampling)) for f in (source, tmp_path / "clean")]
    assert texts[0] == texts[1]


def test_conversion_splits_large_models_into_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_SHARD_BYTES", 100_000)
    source = write_checkpoint(2, tmp_path / "released")
    convert.convert(source, tmp_path / "clean", dtype=torch.float32)
    assert len(list((tmp_path / "clean").glob("*.safetensors"))) > 3
    assert same(convert.load(source, PLACE), convert.load(tmp_path / "clean", PLACE))


def test_four_bit_folders_are_unpacked(tmp_path: Path) -> None:
    weights, expected = four_bit_weights()
    tmp_path.joinpath("quantize_config.json").write_text('{"bits": 4, "group_size": 32}', encoding="utf-8")
    write_config(1, tmp_path, internlm_lora=None, intermediate_size=176)
    torch.save(weights, tmp_path / "gptq_model-4bit-128g.bin")
    found = parameters(convert.load(tmp_path, PLACE))
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


def four_bit_weights() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns a release with random quantised linears, and the weights that they unpack to."""
    generator = torch.Generator().manual_seed(4)
    source = golden_weights(1)
    weights = {key: t for key, t in source.items() if "_proj." not in key or "internlm_model" not in key}
    expected: dict[str, Tensor] = {}
    for layer in range(3):
        for name, size_in, size_out in (
            *((f"self_attn.{n}_proj", 64, 64) for n in "qkvo"),
            ("mlp.gate_proj", 64, 176),
            ("mlp.up_proj", 64, 176),
            ("mlp.down_proj", 176, 64),
        ):
            key = f"model.layers.{layer}.{name}"
            levels = torch.randint(0, 16, (size_in, size_out), generator=generator)
            groups = torch.arange(size_in) // 32
            scales = torch.rand(int(groups.max()) + 1, size_out, generator=generator).half()
            weights |= {
                f"internlm_model.{key}.qweight": pack(levels),
                f"internlm_model.{key}.qzeros": pack(torch.full((size_out, len(scales)), 7)).T.contiguous(),
                f"internlm_model.{key}.scales": scales,
                f"internlm_model.{key}.g_idx": groups.int(),
                f"internlm_model.{key}.bias": torch.zeros(size_out).half(),
            }
            expected[f"llm.{key}.weight"] = (scales.float()[groups] * (levels - 8).float()).T.contiguous()
    return weights, expected


def pack(levels: Tensor) -> Tensor:
    words = torch.zeros(len(levels) // 8, levels.shape[1], dtype=torch.int64)
    for i in range(8):
        words |= levels[i::8].long() << 4 * i
    return torch.where(words >= 2**31, words - 2**32, words).int()


def test_biases_without_a_parameter_must_be_zero(tmp_path: Path) -> None:
    weights, _ = four_bit_weights()
    weights["internlm_model.model.layers.0.mlp.up_proj.bias"] += 1
    tmp_path.joinpath("quantize_config.json").write_text('{"bits": 4}', encoding="utf-8")
    write_config(1, tmp_path, internlm_lora=None, intermediate_size=176)
    torch.save(weights, tmp_path / "gptq_model-4bit-128g.bin")
    with pytest.raises(ModelFailure, match=r"up_proj\.bias with values"):
        convert.load(tmp_path, PLACE)


def _drop(key: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda weights: weights.__delitem__(key)


def _cut_rows(weights: dict[str, Tensor]) -> None:
    weights["internlm_model.model.norm.weight"] = weights["internlm_model.model.norm.weight"][:7]


def _cut_update(weights: dict[str, Tensor]) -> None:
    key = "internlm_model.model.layers.0.self_attn.q_proj.lora_A.weight"
    weights[key] = weights[key][:, :9]


def _add_unknown(weights: dict[str, Tensor]) -> None:
    weights["internlm_model.model.layers.0.experts.weight"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop("ln_vision.weight"), "1 tensors are missing, such as vision.post_layernorm.weight: no weight"),
        (
            _drop("internlm_model.model.layers.1.mlp.up_proj.lora_B.weight"),
            "such as llm.model.layers.1.mlp.up_proj.weight: no lora_B",
        ),
        (_cut_rows, r"has shape \(7,\), not \(64,\)"),
        (_cut_update, "parts of wrong shapes"),
        (_add_unknown, r"layers\.0\.experts\.weight"),
    ],
)
def test_wrong_weights_are_named(tmp_path: Path, spoil: Callable[[dict[str, Tensor]], None], message: str) -> None:
    weights = golden_weights(1)
    spoil(weights)
    write_config(1, tmp_path)
    write_safetensors(weights, tmp_path)
    with pytest.raises(ModelFailure, match=message) as caught:
        convert.load(tmp_path, PLACE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
@pytest.mark.parametrize("kept_bytes", [0, 100, 90_000])
def test_a_truncated_shard_is_named(tmp_path: Path, suffix: str, kept_bytes: int) -> None:
    folder = write_checkpoint(1, tmp_path)
    if suffix == "safetensors":
        (folder / "pytorch_model.bin.index.json").unlink()
        write_safetensors(golden_weights(1), folder)
    path = min(folder.glob(f"*.{suffix}"))
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(ModelFailure, match=f"{path.name} is corrupt") as caught:
        convert.load(folder, PLACE)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("owned",))

    write_config(1, tmp_path)
    with (tmp_path / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"x": Evil()}, file, protocol=2)
    with pytest.raises(ModelFailure, match=r"pytorch_model\.bin is corrupt"):
        convert.load(tmp_path, PLACE)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "config.json is missing"),
        ({"config.json": "{"}, "config.json cannot be read"),
        ({"config.json": "[]"}, "not hold a JSON object"),
        ({"config.json": '{"model_type": "qwen2_vl"}'}, "of type 'qwen2_vl', not InternLM-XComposer"),
        ({"config.json": '{"model_type": "InternLMXComposer"}'}, "incomplete or wrong"),
        ({"config.json": json.dumps(SIZES_1 | {"num_query_token": "six"})}, "num_query_token is 'six'"),
        ({"config.json": json.dumps(SIZES_1)}, "holds no weights"),
        ({"config.json": json.dumps(SIZES_1), "quantize_config.json": '{"bits": 3}'}, "says 3 bits"),
        (
            {"config.json": json.dumps(SIZES_1), "pytorch_model.bin.index.json": '{"weight_map": {"a": "x.bin"}}'},
            r"x\.bin is missing, though",
        ),
        (
            {"config.json": json.dumps(SIZES_1), "pytorch_model.bin.index.json": '{"weight_map": {"a": "../x.bin"}}'},
            r"x\.bin is missing, though",
        ),
    ],
)
def test_a_folder_without_a_valid_model_is_an_error(tmp_path: Path, files: dict[str, str], message: str) -> None:
    (tmp_path.parent / "x.bin").touch()
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ModelFailure, match=message) as caught:
        convert.load(tmp_path, PLACE)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(1, tmp_path)
    (folder / "tokenizer.model").write_bytes(b"nothing")
    with pytest.raises(ModelFailure, match="not a sentencepiece model"):
        load(str(folder))
    (folder / "tokenizer.model").unlink()
    with pytest.raises(ModelFailure, match=r"tokenizer\.model is missing"):
        load(str(folder))


def test_conversion_refuses_a_folder_that_is_not_empty_or_cannot_be_written(tmp_path: Path) -> None:
    source = write_checkpoint(1, tmp_path / "released")
    with pytest.raises(ModelFailure, match="not empty"):
        convert.convert(source, source)
    (tmp_path / "file").touch()
    with pytest.raises(ModelFailure, match="cannot be written"):
        convert.convert(source, tmp_path / "file" / "clean")


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    source = write_checkpoint(1, tmp_path / "released")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the largest size of a file
    try:
        with pytest.raises(ModelFailure, match="cannot be written"):
            convert.convert(source, tmp_path / "clean")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_relative_folder_is_a_model_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(1, tmp_path / "models" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert load("models/tiny").name == "models/tiny"


def test_names_without_a_model_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelFailure, match="unknown composer model 'gpt'"):
        load("gpt")
    with pytest.raises(ModelFailure, match="is not a folder"):
        load(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            LocalEntryNotFoundError("offline"),
            "internlm/internlm-xcomposer2-7b is not here and the hub cannot be reached",
        ),
        (OSError("no space left on device\nmore"), "cannot be fetched: no space left on device$"),
    ],
)
def test_a_model_that_cannot_be_fetched_is_an_error(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def fail(*names: object, **__: object) -> str:
        asked.append(names)
        raise error

    monkeypatch.setattr("xcomp_model.xcomposer.loading.hf_hub_download", fail)
    with pytest.raises(ModelFailure, match=message):
        load("internlm-xcomposer2-7b")
    assert asked == [("internlm/internlm-xcomposer2-7b", "config.json")]  # an unreachable hub is asked once
    config = write_checkpoint(2, tmp_path) / "config.json"
    monkeypatch.setattr("xcomp_model.xcomposer.loading.hf_hub_download", lambda *_, **__: str(config))
    monkeypatch.setattr("xcomp_model.xcomposer.loading.snapshot_download", fail)
    with pytest.raises(ModelFailure, match=message):
        load("internlm-xcomposer2-7b")
    monkeypatch.setattr("xcomp_model.xcomposer.runtime.memory_plan.free_bytes", lambda _: 1 << 20)
    with pytest.raises(ModelFailure, match="use --model retrieval"):  # no weights were fetched
        load("internlm-xcomposer2-7b")


def test_the_plan_of_a_model_on_the_hub_fetches_only_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(2, tmp_path)
    asked: list[tuple[str, str, str | None]] = []

    def download(repository: str, name: str, *, revision: str | None) -> str:
        asked.append((repository, name, revision))
        if name != "config.json":
            raise EntryNotFoundError(name)
        return str(folder / name)

    monkeypatch.setattr("xcomp_model.xcomposer.loading.hf_hub_download", download)
    assert plan_model("internlm/internlm-xcomposer2-7b@v1", Runtime()).total > 0
    assert {name for _, name, _ in asked} == {"config.json", "quantize_config.json"}
    assert {revision for _, _, revision in asked} == {"v1"}


def test_missing_devices_and_unknown_precisions_are_errors() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ModelFailure, match="finds no GPU"):
            find_placement("cuda:0")
    with pytest.raises(ModelFailure, match="unknown precision 'int3'"):
        find_placement("cpu", "int3")


def test_a_model_that_does_not_fit_is_refused_with_its_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(1, tmp_path)
    monkeypatch.setattr("xcomp_model.xcomposer.runtime.memory_plan.free_bytes", lambda _: 1 << 20)
    with pytest.raises(ModelFailure, match=r"needs .* GiB on cpu in float32 \(.*decoder.*: use --model retrieval"):
        load(str(folder))
    assert plan_model(str(folder), Runtime()).headroom < 0


def test_a_plan_counts_the_weights_that_are_loaded(version: int, tmp_path: Path) -> None:
    folder = write_checkpoint(version, tmp_path)
    plan = plan_model(str(folder), Runtime(precision="bf16"))
    network = convert.load(folder, DevicePlacement("cpu", torch.bfloat16))
    assert sum(plan.weights.values()) == sum(parameter.nbytes for parameter in network.parameters())
    assert any("headroom" in line for line in plan.lines())


def test_low_precision_keeps_the_sampler_exact(tmp_path: Path) -> None:
    network = convert.load(golden_folder(1, tmp_path), DevicePlacement("cpu", torch.bfloat16))
    assert isinstance(network, XComposer1)
    assert network.query_tokens.dtype == network.projector.weight.dtype == torch.float32
    assert network.llm.lm_head.weight.dtype == torch.bfloat16
    assert network.llm.model.rotary_emb.inv_freq.dtype == torch.float32
    with torch.inference_mode():
        assert network.encode_images(torch.zeros(1, 3, 56, 56)).isfinite().all()


def test_the_digest_tells_weights_apart(tmp_path: Path) -> None:
    one, two = write_checkpoint(1, tmp_path / "1"), write_checkpoint(2, tmp_path / "2")
    assert compute_digest(one) == compute_digest(one) != compute_digest(two)


def test_modules_are_built_without_memory(tmp_path: Path) -> None:
    network = build(read_config(golden_folder(2, tmp_path)))
    assert all(parameter.is_meta for parameter in network.parameters())


@pytest.mark.parametrize("start", ["", "/", "~", "./"])
@pytest.mark.parametrize("rest", ["x" * 5000, "nothing\0", "a/" * 3000, "\ud800"])
def test_names_that_cannot_be_paths_are_errors(start: str, rest: str) -> None:
    with pytest.raises(ModelFailure):
        load(start + rest)
