"""Maps a safetensors file into memory: tensors are views of the file, and nothing is copied.

Format: github.com/huggingface/safetensors: a little-endian length, a JSON header of that length, then the tensors.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xcomp_protos.errors import ModelError

Array = NDArray[np.generic]

_HEADER_BYTES = 100_000_000  # the format's own limit
_BF16 = "BF16"  # numpy lacks it: its bits are the upper half of an fp32 number
_TYPES = {
    _BF16: "<u2",
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def map_tensors(source: Path | bytes) -> Mapping[str, Array]:
    """Returns all tensors by name; those of bf16 become fp32 in memory. Those of 8-bit floats are left out.

    Raises:
        ModelError: the file is damaged.
        OSError: the file cannot be read.
    """
    if isinstance(source, bytes):
        content: Array = np.frombuffer(bytearray(source), np.uint8)
    elif source.stat().st_size:
        content = np.memmap(source, np.uint8, "c")  # copy on write: the engine asks for writeable memory
    else:
        content = np.empty(0, np.uint8)
    try:
        header, data = _split(content)
        return {name: _tensor(data, entry) for name, entry in header.items() if entry["dtype"] in _TYPES}
    except (KeyError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"the weight file is damaged: {error}") from error


def _split(content: Array) -> tuple[Mapping[str, Mapping[str, object]], Array]:
    length = int.from_bytes(content[:8].tobytes(), "little")
    if len(content) < 8 or length > min(_HEADER_BYTES, len(content) - 8):
        raise ValueError("its header is cut")
    header = json.loads(content[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    return header, content[8 + length :]


def _tensor(data: Array, entry: Mapping[str, object]) -> Array:
    shape, offsets = entry["shape"], entry["data_offsets"]
    assert isinstance(shape, list)
    assert isinstance(offsets, list)
    start, end = map(int, offsets)
    dtype = np.dtype(_TYPES[str(entry["dtype"])])
    if (
        not 0 <= start <= end <= len(data)
        or min(shape, default=0) < 0
        or end - start != math.prod(shape) * dtype.itemsize
    ):
        raise ValueError("a tensor reaches beyond the file, or has another size than its shape")
    tensor = data[start:end].view(dtype).reshape(shape)
    return (tensor.astype(np.uint32) << 16).view(np.float32) if entry["dtype"] == _BF16 else tensor
