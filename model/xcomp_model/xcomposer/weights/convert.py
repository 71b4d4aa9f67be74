"""Loads released folders into modules, or writes them as folders that load without conversion.

Both read the same stream of finished tensors. It is built shard by shard and checked against the shapes of a model
without memory: unknown names, wrong shapes and missing tensors are errors, never warnings.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from xcomp_model.base import ModelFailure
from xcomp_model.xcomposer.architecture.build import Network, build, dtype_of, parameter_shapes
from xcomp_model.xcomposer.architecture.config import Config, XComposer1Config, read_config, read_json
from xcomp_model.xcomposer.runtime.device import DevicePlacement, device_of, dispatch, map_devices
from xcomp_model.xcomposer.weights import rules_v1, rules_v2
from xcomp_model.xcomposer.weights.checkpoint import find_shards, read_tensors, write_shard
from xcomp_model.xcomposer.weights.mapping import ZERO, Layout, Rule

_CLEAN = Layout((Rule(r"(.+)", r"\1"),))
_SHARD_BYTES = 4 << 30


def layout_of(config: Config) -> Layout:
    """Returns the layout of a folder with this configuration."""
    if config.is_converted:
        return _CLEAN
    return rules_v1.layout(config) if isinstance(config, XComposer1Config) else rules_v2.layout(config)


def convert_tensors(folder: Path, layout: Layout, shapes: Mapping[str, torch.Size]) -> Iterator[tuple[str, Tensor]]:
    """Yields every target once, complete and of the right shape, as soon as its last part was read.

    Raises:
        ModelFailure: a key is unknown, a shape is wrong, or a target stays incomplete.
    """
    waiting: dict[str, dict[str, Tensor]] = {}
    missing = set(shapes)
    for path in find_shards(folder):
        for key, tensor in read_tensors(path):
            for target, role in _targets(layout, key, tensor, path=path):
                if target not in shapes:
                    raise ModelFailure(f"{path} holds {key}, which this model does not have")
                parts = waiting.setdefault(target, {})
                parts[role] = tensor
                if parts.keys() >= layout.needs(target):
                    source = f"{path}: {key}"
                    yield (
                        target,
                        _build_target(layout, target, waiting.pop(target), shape=shapes[target], source=source),
                    )
                    missing.discard(target)
        waiting = {target: {role: part.clone() for role, part in parts.items()} for target, parts in waiting.items()}
    if missing:
        first = min(missing)
        lacks = ", ".join(sorted(layout.needs(first) - waiting.get(first, {}).keys()))
        raise ModelFailure(f"{folder} is incomplete: {len(missing)} tensors are missing, such as {first}: no {lacks}")


def load(folder: Path, placement: DevicePlacement, *, attention: str = "sdpa") -> Network:
    """Builds the model of a folder and fills it, shard by shard."""
    config = read_config(folder)
    network = build(config, attention=attention)
    owners = _find_owners(network)
    device_map = map_devices(network, placement)
    for name, tensor in convert_tensors(folder, layout_of(config), parameter_shapes(network)):
        dtype = dtype_of(name, config, placement.dtype)
        parameter = nn.Parameter(_copy(tensor, dtype, device_of(name, device_map)), requires_grad=False)
        for module, attribute in owners[name]:
            setattr(module, attribute, parameter)
    _fill_buffers(network, placement.main)
    return dispatch(network, device_map)


def convert(source: Path, destination: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Writes a released model as safetensors: un-fused, merged, unpacked, under the names of our modules.

    Raises:
        ModelFailure: the source is wrong, or the destination is not empty or full.
    """
    config = read_config(source)
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise ModelFailure(f"{destination} is not empty: name a new folder")
    shapes = parameter_shapes(build(config))
    try:
        destination.mkdir(parents=True, exist_ok=True)
        tensors = convert_tensors(source, layout_of(config), shapes)
        stream = ((name, _copy(tensor, dtype_of(name, config, dtype))) for name, tensor in tensors)
        _write(stream, destination)
        shutil.copyfile(source / "tokenizer.model", destination / "tokenizer.model")
        clean = read_json(source / "config.json") | {"internlm_lora": None, "lora_cfg": None, "xcomp_format": 1}
        (destination / "config.json").write_text(json.dumps(clean, indent=2), encoding="utf-8")
    except OSError as error:
        raise ModelFailure(f"{destination} cannot be written: {error}") from error


def _targets(layout: Layout, key: str, tensor: Tensor, *, path: Path) -> Iterator[tuple[str, str]]:
    targets = layout.targets(key)
    if not targets:
        raise ModelFailure(f"{path} holds {key}, which is not a key of an InternLM-XComposer of this kind")
    for target, role in targets:
        if role == ZERO and bool(tensor.any()):
            raise ModelFailure(f"{path} holds {key} with values, but this model has no parameter for them")
        if target is not None:
            yield target, role


def _build_target(
    layout: Layout, target: str, parts: Mapping[str, Tensor], *, shape: torch.Size, source: str
) -> Tensor:
    try:
        tensor = layout.fit(target, layout.build(parts), shape)
    except (RuntimeError, IndexError) as error:
        raise ModelFailure(f"{source} has parts of wrong shapes: {str(error).splitlines()[0]}") from error
    if tensor.shape != shape:
        raise ModelFailure(f"{source} has shape {tuple(tensor.shape)}, not {tuple(shape)}")
    return tensor


def _copy(tensor: Tensor, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    # Always a copy, because the source may be a view of a mapped file.
    return torch.empty(tensor.shape, dtype=dtype, device=device).copy_(tensor)


def _find_owners(network: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    owners: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in names.values()}
    for module in network.modules():
        for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            owners[names[id(parameter)]].append((module, attribute))
    return owners


def _fill_buffers(network: Network, device: torch.device) -> None:
    # The files have no buffers: positions count from 0, rotary frequencies follow from the configuration.
    rotary = network.llm.model.rotary_emb
    network.llm.model.rotary_emb = type(rotary)(rotary.config).to(device)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                assert name == "position_ids", f"the buffer {name} is not filled"
                module.register_buffer(name, torch.arange(buffer.shape[-1], device=device)[None], persistent=False)


def _write(stream: Iterator[tuple[str, Tensor]], destination: Path) -> None:
    weight_map: dict[str, str] = {}
    shard: dict[str, Tensor] = {}
    written = size_bytes = 0
    for name, tensor in stream:
        if shard and size_bytes + tensor.nbytes > _SHARD_BYTES:
            written += 1
            write_shard(destination / f"model-{written:05}.safetensors", shard)
            shard, size_bytes = {}, 0
        shard[name] = tensor
        size_bytes += tensor.nbytes
        weight_map[name] = f"model-{written + 1:05}.safetensors"
    write_shard(destination / f"model-{written + 1:05}.safetensors", shard)
    index = json.dumps({"metadata": {}, "weight_map": weight_map}, indent=0)
    (destination / "model.safetensors.index.json").write_text(index, encoding="utf-8")
