"""Reads and writes checkpoint folders, one shard at a time.

Tensors pass through as a stream, so memory holds at most one shard beside the model. It reads safetensors and PyTorch
pickles (weights only, never code), and does not depend on the meaning of the keys.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xcomp_model.base import ModelFailure
from xcomp_model.xcomposer.architecture.config import read_json

_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "gptq_model-4bit-128g.safetensors",
    "gptq_model-4bit-128g.bin",
)


def find_shards(folder: Path) -> list[Path]:
    """Returns the weight files of a folder in the order of their names.

    Raises:
        ModelFailure: there are none, or the index names one that is missing.
    """
    for name in _INDICES:
        if (folder / name).is_file():
            return _shards_of_index(folder / name)
    for name in _SINGLE_FILES:
        if (folder / name).is_file():
            return [folder / name]
    raise ModelFailure(f"{folder} holds no weights: expected one of {', '.join((*_INDICES, *_SINGLE_FILES))}")


def read_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors of one shard; to save memory, drop each one before the next.

    Raises:
        ModelFailure: the file is cut short, corrupt, or a pickle of more than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            yield from _read_safetensors(path)
        else:
            yield from _read_pickle(path)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise ModelFailure(f"{path} is corrupt: {_first_line(error)}") from error


def write_shard(path: Path, shard: dict[str, Tensor]) -> None:
    """Writes tensors as safetensors; raises ModelFailure if they cannot be written."""
    try:
        save_file(shard, path, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise ModelFailure(f"{path} cannot be written: {_first_line(error)}") from error


def _shards_of_index(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFailure(f"{index} has no weight_map")
    files = [index.parent / str(name) for name in sorted(set(weight_map.values()))]
    for file in files:
        if file.parent != index.parent or not file.is_file():
            raise ModelFailure(f"{file} is missing, though {index.name} names it: fetch the model again")
    return files


def _read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    with safe_open(path, framework="pt") as shard:
        for key in shard.keys():  # noqa: SIM118  # not a mapping
            yield key, shard.get_tensor(key)


def _read_pickle(path: Path) -> Iterator[tuple[str, Tensor]]:
    # Read, not mapped: a tensor is freed right after its use, while mapped pages stay until the end of the shard.
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("it does not hold a table of tensors")
    for key in list(state):
        tensor = state.pop(key)
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{key} is not a tensor")
        yield key, tensor


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
