"""How much memory loading takes beside the model: `python -m tests.bench.load_memory [GIB]`.

A folder of GIB (2 without it) in the released format of version 1.0, with four shards, is written and loaded in a
process of its own; the peak of its resident memory is compared with the model plus the largest shard.
"""

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.bench import machine
from xcomp_model.xcomposer.architecture import build
from xcomp_model.xcomposer.architecture.config import read_config
from xcomp_model.xcomposer.runtime.device import DevicePlacement
from xcomp_model.xcomposer.weights import convert

_SHARDS = 4
_LAYER_BYTES = 2 * (4 * 2048 * 2048 + 3 * 2048 * 5504)
_GIB = 1 << 30


def main() -> None:
    """Prints the table, or with `--child FOLDER` loads and prints its peak."""
    if sys.argv[1:2] == ["--child"]:
        _load(Path(sys.argv[2]))
        return
    size_gib = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    print(machine.line(f"python -m tests.bench.load_memory {size_gib:g}"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, layers=max(int(size_gib * _GIB / _LAYER_BYTES), 1))
        shards = [path.stat().st_size for path in folder.glob("*.bin")]
        command = [sys.executable, "-m", "tests.bench.load_memory", "--child", name]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    bound = said["model"] + max(shards)
    verdict = "kept" if said["peak"] - said["before"] <= bound else "EXCEEDED"
    print(
        f"folder                {sum(shards) / _GIB:6.2f} GiB, {len(shards)} shards, largest {max(shards) / _GIB:.2f}"
    )
    print(f"model in memory       {said['model'] / _GIB:6.2f} GiB")
    print(f"libraries, resident   {said['before'] / _GIB:6.2f} GiB before loading")
    print(f"peak above them       {(said['peak'] - said['before']) / _GIB:6.2f} GiB")
    print(f"model + largest shard {bound / _GIB:6.2f} GiB: {verdict}")


def _load(folder: Path) -> None:
    build.build(read_config(folder))  # what building alone takes belongs to the libraries
    before = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    network = convert.load(folder, DevicePlacement("cpu", torch.float16))
    model = sum(parameter.nbytes for parameter in network.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"before": before, "peak": peak, "model": model}))


def _write(folder: Path, *, layers: int) -> None:
    config = {
        "model_type": "InternLMXComposer", "vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5504,
        "num_hidden_layers": layers, "num_attention_heads": 16, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
        "kqvo_bias": True, "num_query_token": 64, "internlm_lora": {"lora_r": 64, "lora_alpha": 64},
        "vision_tower": {"num_hidden_layers": 2}, "sampler": {"num_hidden_layers": 2},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    released = list(_released(folder))
    index: dict[str, str] = {}
    for shard in range(_SHARDS):
        name = f"pytorch_model-{shard + 1:05}-of-{_SHARDS:05}.bin"
        part = released[shard * len(released) // _SHARDS : (shard + 1) * len(released) // _SHARDS]
        torch.save({key: torch.full(shape, 0.01, dtype=dtype) for key, shape, dtype in part}, folder / name)
        index |= {key: name for key, _, _ in part}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")


def _released(folder: Path) -> Iterator[tuple[str, torch.Size, torch.dtype]]:
    """Released names, shapes and dtypes; those of two low-rank parts beside the weights that have them."""
    for name, shape in build.parameter_shapes(build.build(read_config(folder))).items():
        if not name.startswith("llm."):
            yield from _image_side(name, shape)
            continue
        key = f"internlm_model.{name.removeprefix('llm.')}"
        yield key, shape, torch.float16
        if any(part in name for part in ("q_proj.weight", "v_proj.weight", "up_proj.weight", "down_proj.weight")):
            stem = key.removesuffix("weight")
            yield f"{stem}lora_A.weight", torch.Size((64, shape[1])), torch.float32
            yield f"{stem}lora_B.weight", torch.Size((shape[0], 64)), torch.float32


def _image_side(name: str, shape: torch.Size) -> Iterator[tuple[str, torch.Size, torch.dtype]]:
    if name.endswith("self_attn.qkv.bias"):
        third = torch.Size((shape[0] // 3,))
        stem = name.replace("vision.encoder.layers", "visual_encoder.blocks").removesuffix("self_attn.qkv.bias")
        yield f"{stem}attn.q_bias", third, torch.float32
        yield f"{stem}attn.v_bias", third, torch.float32
        return
    for ours, released in _NAMES:
        name = name.replace(ours, released)
    yield name, shape, torch.float32


_NAMES = (
    ("vision.encoder.layers", "visual_encoder.blocks"),
    ("vision.embeddings.class_embedding", "visual_encoder.cls_token"),
    ("vision.embeddings.position_embedding", "visual_encoder.pos_embed"),
    ("vision.embeddings.patch_embedding", "visual_encoder.patch_embed.proj"),
    ("vision.post_layernorm", "ln_vision"),
    ("layer_norm", "norm"),
    ("self_attn.projection", "attn.proj"),
    ("self_attn.qkv", "attn.qkv"),
    ("qformer.layernorm", "Qformer.bert.embeddings.LayerNorm"),
    ("qformer.encoder.layer.", "Qformer.bert.encoder.layer."),
    (".attention.attention.", ".attention.self."),
    (".crossattention.attention.", ".crossattention.self."),
    ("projector", "internlm_proj"),
)

if __name__ == "__main__":
    main()
