import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from xcomp_indexer.embed.weights.safetensors_file import map_tensors
from xcomp_protos.errors import ModelError

TENSORS: dict[str, np.ndarray] = {
    "floats": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
    "halves": np.arange(6, dtype=np.float16),
    "numbers": np.array([[1, -2]], dtype=np.int64),
    "scalar": np.array(0.5, dtype=np.float32),
}


def written(folder: Path, header: object, data: bytes) -> Path:
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_tensors_are_those_that_were_saved(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "np"})
    for source in (tmp_path / "model.safetensors", (tmp_path / "model.safetensors").read_bytes()):
        found = map_tensors(source)
        assert found.keys() == TENSORS.keys()
        for name, tensor in TENSORS.items():
            np.testing.assert_array_equal(found[name], tensor)
            assert found[name].dtype == tensor.dtype


def test_writing_into_a_tensor_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path)
    before = path.read_bytes()
    map_tensors(path)["floats"][:] = 0
    assert path.read_bytes() == before


def test_bf16_becomes_fp32(tmp_path: Path) -> None:
    bits = np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16
    path = written(tmp_path, {"x": entry("BF16", [2], 0, 4)}, bits.astype("<u2").tobytes())
    found = map_tensors(path)["x"]
    assert found.dtype == np.dtype(np.float32)
    assert found.tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"x": entry("F32", [2], 0, 8)}, b"1234"),
        ({"x": entry("F32", [3], 0, 8)}, b"12345678"),
        ({"x": entry("F32", [-2], 0, 8)}, b"12345678"),
        ({"x": entry("F32", [2], -8, 0)}, b"12345678"),
        ({"x": entry("F32", [10**30, 0], 0, 8)}, b"12345678"),
        ({"x": {"dtype": "F32"}}, b""),
        ({"x": 5}, b""),
        ([1], b""),
        ("text", b""),
    ],
)
def test_a_header_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, header: object, data: bytes) -> None:
    with pytest.raises(ModelError, match="the weight file is damaged") as caught:
        map_tensors(written(tmp_path, header, data))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"{]", b"\x01" + b"\0" * 7])
def test_a_cut_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ModelError, match="the weight file is damaged"):
        map_tensors(tmp_path / "x")
