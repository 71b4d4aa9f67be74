"""Graphs on a CPU through OpenVINO, which only this module imports.

A compiled network may be called from several threads: each has an infer request of its own. Vectors depend on neither
threads nor batches. Does not depend on what a network computes.
"""

import sys
import threading
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed.engine.cpus import count_usable_cores
from xcomp_protos.errors import ModelError

# The library reports its use to a third party when it is imported, without asking. Without the module that sends the
# reports it takes a stub of its own.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes an import fail

import openvino  # type: ignore[import-untyped]  # noqa: E402  # it ships no types
from openvino import opset15 as op  # noqa: E402

Node: TypeAlias = openvino.Node
Graph: TypeAlias = openvino.Model

__all__ = ["CompiledNetwork", "Graph", "Node", "Precision", "has_bf16", "op", "version"]

Precision = Literal["fp32", "bf16"]
Array = NDArray[np.generic]

_HINTS = {"fp32": "f32", "bf16": "bf16"}
# Kernels are kept for so many input shapes; without a bound each new image width would take memory for ever.
_SHAPES_KEPT = 16


class CompiledNetwork:
    """A graph that is ready to run.

    Args:
        model: the graph.
        precision: of the computation; weights, inputs and outputs stay fp32.
        streams: inferences that may run at once, each on its share of the cores; 1 gives one inference all of them.

    Raises:
        ModelError: the engine refuses the graph, or the processor lacks the precision.
    """

    def __init__(self, model: Graph, *, precision: Precision = "fp32", streams: int = 1) -> None:
        cores = count_usable_cores()
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],  # by default the engine takes bf16 where it is fast
            "NUM_STREAMS": min(streams, cores),
            "INFERENCE_NUM_THREADS": cores,
            "ENABLE_CPU_PINNING": False,  # pinned, two processes would share the first core
            "CPU_RUNTIME_CACHE_CAPACITY": _SHAPES_KEPT,
        }
        if precision == "bf16" and not has_bf16():
            raise ModelError("this processor has no bf16: use --precision fp32")
        try:
            self._compiled = openvino.Core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot compile the network: {_brief(error)}") from error
        self._local = threading.local()

    def __call__(self, *inputs: Array) -> list[NDArray[np.float32]]:
        """Returns the outputs for inputs in the order of the graph's parameters; the inputs are read in place.

        Raises:
            ModelError: the inference fails.
        """
        request = self._get_request()
        # Shared memory must be writeable, contiguous, and alive until the inference ends. Copied inputs must never be
        # mixed with shared ones: the engine would write into the array that an earlier call shared.
        arrays = [np.require(each, requirements=["C", "W"]) for each in inputs]
        try:
            for index, array in enumerate(arrays):
                request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
            request.infer()
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot run the network: {_brief(error)}") from error
        return [request.get_output_tensor(index).data.copy() for index in range(len(self._compiled.outputs))]

    def _get_request(self) -> openvino.InferRequest:
        request: openvino.InferRequest | None = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        return request


def has_bf16() -> bool:
    """Whether this processor computes in bf16."""
    return "BF16" in _capabilities()


def version() -> str:
    """Returns the version of the engine."""
    return str(openvino.__version__)


def _capabilities() -> Sequence[str]:
    capabilities: Sequence[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return capabilities


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
