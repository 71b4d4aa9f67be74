"""Reads the tensors of PyTorch's weight files without torch and without running pickled code.

Two formats: the old one, five pickles followed by the storages (`torch.save` before 1.6, `_legacy_save` of
torch/serialization.py), and the zip archive that replaced it. A pickle may name only what a state dict needs.
"""

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xcomp_protos.errors import ModelError

Array = NDArray[np.generic]
State = Mapping[str, Array]

# torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION.
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_TYPES: Mapping[str, np.dtype[np.generic]] = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


# What the standard library raises on bytes that are no pickle or no archive.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class _StorageType:
    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[np.generic]
    count: int


@dataclass(frozen=True)
class _TensorView:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state(source: bytes | Path) -> State:
    """Returns the tensors of a state dict by name. Arrays of a zip archive on disk are views of the mapped file.

    Raises:
        ModelError: the file is damaged, or holds anything but tensors.
        OSError: the file cannot be read.
    """
    try:
        if _is_zip(source):
            return _read_zip(source)
        return _read_old(io.BytesIO(source if isinstance(source, bytes) else source.read_bytes()))
    except _DAMAGE as error:
        brief = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"the weight file is damaged, or holds more than weights: {brief}") from error


class _TensorUnpickler(pickle.Unpickler):
    """Builds descriptions of tensors; any other global is refused."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _describe_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _describe_parameter
        if module == "torch" and name in _TYPES:
            return _StorageType(name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place among weights")

    def persistent_load(self, pid: object) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], _StorageType):
            raise pickle.UnpicklingError("a storage is described in an unknown way")
        return _Storage(str(pid[2]), _TYPES[pid[1].name], int(pid[4]))


def _describe_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _TensorView:
    return _TensorView(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _describe_parameter(data: _TensorView, *_: object) -> _TensorView:
    return data


def _views(pickled: object, storages: Callable[[_Storage], Array]) -> State:
    if not isinstance(pickled, Mapping) or not all(isinstance(each, _TensorView) for each in pickled.values()):
        raise ValueError("it is no state dict")
    return {str(name): _view(view, storages(view.storage)) for name, view in pickled.items()}


def _view(view: _TensorView, values: Array) -> Array:
    if math.prod(view.shape) > len(values):  # a small file would describe a tensor that fills the memory
        raise ValueError("a tensor is larger than its storage")
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True) if n)
    if min((view.offset, *view.shape, *view.strides), default=0) < 0 or (0 not in view.shape and last >= len(values)):
        raise ValueError("a tensor reaches beyond its storage")
    strides = tuple(step * values.itemsize for step in view.strides)
    return np.lib.stride_tricks.as_strided(values[view.offset :], view.shape, strides)


def _read_old(file: io.BytesIO) -> State:
    if _TensorUnpickler(file).load() != _MAGIC or _TensorUnpickler(file).load() != _PROTOCOL:
        raise ValueError("it is no file of torch")
    _TensorUnpickler(file).load()  # byte order and sizes of the machine that wrote it
    pickled = _TensorUnpickler(file).load()
    keys = _TensorUnpickler(file).load()
    kinds = {view.storage.key: view.storage for view in pickled.values()}
    arrays: dict[str, Array] = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        storage = kinds[key]
        content = file.read(count * storage.dtype.itemsize)
        if count != storage.count or len(content) != count * storage.dtype.itemsize:
            raise ValueError("it ends in the middle of a tensor")
        arrays[key] = np.frombuffer(bytearray(content), storage.dtype)
    return _views(pickled, lambda storage: arrays[storage.key])


def _is_zip(source: bytes | Path) -> bool:
    return zipfile.is_zipfile(io.BytesIO(source) if isinstance(source, bytes) else source)


def _read_zip(source: bytes | Path) -> State:
    if isinstance(source, bytes):
        buffer: Array = np.frombuffer(bytearray(source), np.uint8)
        file: io.BytesIO | Path = io.BytesIO(source)
    else:
        buffer, file = np.memmap(source, np.uint8, "c"), source  # copy on write: the engine asks for writeable memory
    with zipfile.ZipFile(file) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = pickled.removesuffix("data.pkl")
        described = _TensorUnpickler(io.BytesIO(archive.read(pickled))).load()

        def storage_of(storage: _Storage) -> Array:
            return _member(buffer, archive.getinfo(f"{folder}data/{storage.key}"), storage)

        return _views(described, storage_of)


def _member(buffer: Array, entry: zipfile.ZipInfo, storage: _Storage) -> Array:
    """Returns a stored member as a view: a local header of 30 bytes, its name and its extra field lie before it."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != storage.count * storage.dtype.itemsize:
        raise ValueError(f"{entry.filename} is compressed or has another size")
    name, extra = struct.unpack("<HH", buffer[entry.header_offset + 26 : entry.header_offset + 30].tobytes())
    start = entry.header_offset + 30 + name + extra
    return buffer[start : start + entry.file_size].view(storage.dtype)
