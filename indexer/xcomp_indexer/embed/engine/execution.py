"""Which engine runs the networks of a model, and in which precision: the one place that chooses.

`auto` is torch where it finds a GPU, else OpenVINO where there is a graph of the architecture, else torch.
"""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from xcomp_indexer.embed.engine.cpus import has_avx2
from xcomp_protos.errors import ModelError

Engine = Literal["openvino", "torch"]
ENGINES, PRECISIONS = ("auto", "openvino", "torch"), ("auto", "fp32", "bf16")
GPU_INSTALL = "pip install 'xcomp[gpu]'"
# Devices of NVIDIA's and AMD's drivers, and of Windows' subsystem for Linux.
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


@dataclass(frozen=True)
class Execution:
    """How the user wants networks to run."""

    engine: Literal["auto", "openvino", "torch"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"


AUTO = Execution()


def choose_engine(model: str, wanted: Execution, *, has_graph: bool) -> Engine:
    """Returns the engine for a model.

    Args:
        model: its name, for messages.
        wanted: what the user asks for.
        has_graph: whether this package builds the networks of its architecture.

    Raises:
        ModelError: the engine that is left cannot run the model here; the message says what to install.
    """
    if wanted.engine != "openvino" and (wanted.engine == "torch" or has_cuda()):
        return _require_torch(model, "engine torch was asked for")
    lack = "" if has_graph else "OpenVINO has no graph of its architecture"
    if not has_avx2():
        lack = "OpenVINO needs a processor with AVX2"
    if not lack:
        return "openvino"
    if wanted.engine == "openvino":
        raise ModelError(f"{model} cannot run on OpenVINO: {lack}; leave the engine to auto")
    return _require_torch(model, lack)


def require_openvino(model: str, wanted: Execution) -> None:
    """Checks that a model whose networks only OpenVINO runs can run here.

    Raises:
        ModelError: it cannot.
    """
    if wanted.engine == "torch":
        raise ModelError(f"{model} runs on OpenVINO alone: leave the engine to auto")
    if not has_avx2():
        raise ModelError(f"{model} needs a processor with AVX2, which this one lacks: use --profile clip with torch")


def has_cuda() -> bool:
    """Whether torch is installed and finds a GPU; torch, which takes seconds, is imported only if there is a driver."""
    if find_spec("torch") is None:
        return False
    if sys.platform == "linux" and not any(Path(device).exists() for device in _GPU_DEVICES):
        return False
    import torch

    return torch.cuda.is_available()


def _require_torch(model: str, reason: str) -> Engine:
    if find_spec("torch") is None:
        raise ModelError(f"{model} needs torch ({reason}): install it with {GPU_INSTALL}")
    return "torch"
