"""The device and the precision that a model runs with: as the caller says, or the best available."""

import os
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from xcomp_model.base import ModelFailure

Network = TypeVar("Network", bound=nn.Module)

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

_LAYERS = ["Blip2EncoderLayer", "Blip2QFormerLayer", "CLIPEncoderLayer", "LlamaDecoderLayer"]  # never split


@dataclass(frozen=True)
class DevicePlacement:
    """A device and a dtype; the device `spread` distributes the layers over all GPUs."""

    device: str
    dtype: torch.dtype

    @property
    def main(self) -> torch.device:
        """The device of the inputs."""
        return torch.device("cuda:0" if self.device == "spread" else self.device)


def find_placement(device: str = "auto", precision: str = "auto") -> DevicePlacement:
    """Resolves `auto`: the first GPU if there is one; bf16 if it is fast, fp32 on a CPU.

    Raises:
        ModelFailure: this machine does not have the device or precision.
    """
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise ModelFailure(f"device {device!r} is not available: PyTorch finds no GPU; use cpu")
    if device not in ("cpu", "spread", "cuda") and not device.startswith("cuda:"):
        raise ModelFailure(f"unknown device {device!r}: use auto, cpu, cuda, cuda:N or spread")
    if precision == "auto":
        precision = "fp32" if device == "cpu" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if precision not in _DTYPES:
        raise ModelFailure(f"unknown precision {precision!r}: use auto, bf16, fp16 or fp32")
    return DevicePlacement(device, _DTYPES[precision])


def map_devices(network: nn.Module, placement: DevicePlacement) -> dict[str, torch.device]:
    """Returns the device of each part of a model: one device for all, or whole layers distributed over all GPUs."""
    if placement.device != "spread":
        return {"": placement.main}
    from accelerate import infer_auto_device_map  # type: ignore[import-untyped]  # ships no types

    device_map = infer_auto_device_map(network, dtype=placement.dtype, no_split_module_classes=_LAYERS)
    if "cpu" in device_map.values() or "disk" in device_map.values():
        raise ModelFailure("the model does not fit on the GPUs of this machine together: use cpu or a smaller model")
    return {name: torch.device(f"cuda:{index}") for name, index in device_map.items()}


def device_of(name: str, device_map: dict[str, torch.device]) -> torch.device:
    """Returns the device of a parameter: that of the smallest part that contains it."""
    parts = (part for part in device_map if not part or name == part or name.startswith(f"{part}."))
    return device_map[max(parts, key=len)]


def dispatch(network: Network, device_map: dict[str, torch.device]) -> Network:
    """Moves inputs from device to device in a model that is distributed over several."""
    if "" in device_map:
        return network
    from accelerate import dispatch_model

    dispatch_model(network, device_map=device_map)
    return network


def free_bytes(placement: DevicePlacement) -> int:
    """Returns the free memory of a placement."""
    if placement.device == "cpu":
        return _free_host_bytes()
    if placement.device == "spread":
        return sum(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))
    return torch.cuda.mem_get_info(placement.main)[0]


def unused_bytes(device: torch.device) -> int:
    """Returns the free memory of one device, after PyTorch has given back its reserve."""
    if device.type == "cpu":
        return _free_host_bytes()
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def _free_host_bytes() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: the installed memory is the best known figure
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
