"""A weight file as arrays of fp32, checked against the shapes that the network needs."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed.engine.graph import State
from xcomp_indexer.embed.weights.safetensors_file import map_tensors
from xcomp_indexer.embed.weights.torch_files import read_state
from xcomp_protos.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]


def read_weights(path: Path) -> State:
    """Returns the tensors of a safetensors file or of one of torch, half precision widened to fp32.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        tensors = map_tensors(path) if path.suffix == ".safetensors" else read_state(path)
    except ModelError as error:
        raise ValueError(str(error)) from error
    return {name: _widen(tensor) for name, tensor in tensors.items()}


def check_shapes(state: State, shapes: Shapes, *, unused: Collection[str] | None = None) -> None:
    """Checks that the tensors are those of the network.

    Args:
        state: what the file has.
        shapes: what the network needs.
        unused: further names that the file may have; None allows all.

    Raises:
        ValueError: a tensor is missing, has another shape, or belongs to another network.
    """
    if missing := sorted(set(shapes) - set(state)):
        raise ValueError(f"the weight file lacks {len(missing)} tensors of the network, {missing[0]} for one")
    for name, shape in shapes.items():
        if state[name].shape != shape:
            raise ValueError(f"{name} has the shape {state[name].shape}, the configuration says {shape}")
    if unused is not None and (others := sorted(set(state) - set(shapes) - set(unused))):
        raise ValueError(f"the weight file has {len(others)} tensors of another network, {others[0]} for one")


def _widen(tensor: NDArray[np.generic]) -> NDArray[np.float32]:
    return tensor.astype(np.float32, copy=False) if tensor.dtype.kind == "f" else tensor  # type: ignore[return-value]  # counters, which no graph reads
