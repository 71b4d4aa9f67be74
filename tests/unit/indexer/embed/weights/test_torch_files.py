"""Weight files of torch read without torch; torch itself writes them here."""

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from xcomp_indexer.embed.weights.torch_files import read_state
from xcomp_protos.errors import ModelError

torch = pytest.importorskip("torch")


class Call:
    """Runs a function when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


def state() -> OrderedDict[str, object]:
    generator = torch.Generator().manual_seed(0)
    floats = torch.randn(4, 6, generator=generator)
    return OrderedDict(
        floats=floats,
        row=floats[1],  # shares its storage
        turned=floats.t(),
        parameter=torch.nn.Parameter(torch.randn(3, generator=generator)),
        count=torch.tensor(7),
        halves=torch.ones(5, dtype=torch.float16),
        empty=torch.empty(0, 3),
        flags=torch.tensor([True, False]),
    )


def written(path: Path, content: object, *, is_zip: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "old"])
def test_tensors_are_those_that_torch_reads(tmp_path: Path, is_zip: bool) -> None:
    path = written(tmp_path / "x.bin", state(), is_zip=is_zip)
    wanted = torch.load(path, weights_only=True)
    for source in (path, path.read_bytes()):
        found = read_state(source)
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            np.testing.assert_array_equal(found[name], tensor.detach().numpy())


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("content", [{"x": Call()}, Call(), {"x": torch.device("cpu")}, [1], {"x": 5}])
def test_anything_but_tensors_is_refused_and_not_run(tmp_path: Path, is_zip: bool, content: object) -> None:
    with pytest.raises(ModelError, match="holds more than weights") as caught:
        read_state(written(tmp_path / "x.bin", content, is_zip=is_zip))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "old"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, is_zip: bool) -> None:
    content = written(tmp_path / "x.bin", state(), is_zip=is_zip).read_bytes()
    for length in range(0, len(content) - 1, 37):
        with pytest.raises(ModelError):
            read_state(content[:length])


def test_a_file_with_flipped_bytes_gives_tensors_or_an_error(tmp_path: Path) -> None:
    content = written(tmp_path / "x.bin", state(), is_zip=False).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] = random.integers(256)
        try:
            found = read_state(bytes(damaged))
        except ModelError:
            continue
        assert all(isinstance(each, np.ndarray) for each in found.values())


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(10**9)
    with pytest.raises(ModelError, match="larger than its storage"):
        read_state(written(tmp_path / "x.bin", {"x": huge}, is_zip=True))


def test_a_plain_pickle_is_refused() -> None:
    with pytest.raises(ModelError):
        read_state(pickle.dumps({"x": 1}))
