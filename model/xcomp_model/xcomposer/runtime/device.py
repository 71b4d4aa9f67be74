"""Where a model runs and in which numbers; told by the caller, or the best that is there."""

import os
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from xcomp_model.base import ModelError

Network = TypeVar("Network", bound=nn.Module)

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

_WHOLE = ["Blip2EncoderLayer", "Blip2QFormerLayer", "CLIPEncoderLayer", "LlamaDecoderLayer"]  # never split


@dataclass(frozen=True)
class DevicePlacement:
    """A device and a dtype; `device` `spread` lays the layers over all GPUs."""

    device: str
    dtype: torch.dtype

    @property
    def main(self) -> torch.device:
        """Where inputs go."""
        return torch.device("cuda:0" if self.device == "spread" else self.device)


def find_place(device: str = "auto", precision: str = "auto") -> DevicePlacement:
    """Resolves `auto`: the first GPU where there is one; bf16 where it is fast, fp32 on a CPU.

    Raises:
        ModelError: a device or precision that this machine does not have.
    """
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise ModelError(f"device {device!r} is not here: PyTorch sees no GPU; use cpu")
    if device not in ("cpu", "spread", "cuda") and not device.startswith("cuda:"):
        raise ModelError(f"unknown device {device!r}: use auto, cpu, cuda, cuda:N or spread")
    if precision == "auto":
        precision = "fp32" if device == "cpu" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if precision not in _DTYPES:
        raise ModelError(f"unknown precision {precision!r}: use auto, bf16, fp16 or fp32")
    return DevicePlacement(device, _DTYPES[precision])


def spread(network: nn.Module, place: DevicePlacement) -> dict[str, torch.device]:
    """Says where the parts of a model go: all to one device, or whole layers over all GPUs in turn."""
    if place.device != "spread":
        return {"": place.main}
    from accelerate import infer_auto_device_map  # type: ignore[import-untyped]  # it has no types

    found = infer_auto_device_map(network, dtype=place.dtype, no_split_module_classes=_WHOLE)
    if "cpu" in found.values() or "disk" in found.values():
        raise ModelError("the model does not fit on the GPUs of this machine together: use cpu or a smaller model")
    return {name: torch.device(f"cuda:{index}") for name, index in found.items()}


def device_of(name: str, device_map: dict[str, torch.device]) -> torch.device:
    """The device of a parameter, by the longest name of a part that holds it."""
    parts = (part for part in device_map if not part or name == part or name.startswith(f"{part}."))
    return device_map[max(parts, key=len)]


def dispatch(network: Network, device_map: dict[str, torch.device]) -> Network:
    """Lets inputs follow the parts of a model that lies on several devices."""
    if "" in device_map:
        return network
    from accelerate import dispatch_model

    dispatch_model(network, device_map=device_map)
    return network


def free_bytes(place: DevicePlacement) -> int:
    """Memory that a model may take there."""
    if place.device == "cpu":
        return _free_host_bytes()
    if place.device == "spread":
        return sum(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))
    return torch.cuda.mem_get_info(place.main)[0]


def unused_bytes(device: torch.device) -> int:
    """Memory of one device that nobody has, what PyTorch holds in reserve given back first."""
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
        pass  # not Linux: the installed memory is the best that is known
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
