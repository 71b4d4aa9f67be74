"""Models from ModelScope, here a server on loopback: fetched by its client, loaded offline, verified, refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests import fake_modelscope
from tests.clip_checkpoints import chinese_clip_folder, open_clip_folder
from xcomp_indexer import embed
from xcomp_indexer.admin.pull_models import CHECKSUMS
from xcomp_indexer.admin.pull_models import main as pull
from xcomp_indexer.admin.verify_models import main as verify
from xcomp_indexer.embed import registry
from xcomp_protos.errors import ModelError

EN, ZH = "open_clip:modelscope:me/en", "chinese_clip:modelscope:me/zh"
CLOSED = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each family."""
    home = tmp_path_factory.mktemp("modelscope")
    return {"me/en": open_clip_folder(home / "en"), "me/zh": chinese_clip_folder(home / "zh")}


@pytest.fixture
def address(repositories: dict[str, Path]) -> Iterator[str]:
    """Where they are served."""
    with fake_modelscope.serving(repositories) as address:
        yield address


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for models; the hub cannot be reached, and the client may not retry."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", CLOSED)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{CLOSED}/{{repo_id}}/{{revision}}/{{filename}}")
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("MODELSCOPE_DOWNLOAD_INTRA_CLOUD", "0")
    monkeypatch.setattr("time.sleep", lambda _: None)
    return tmp_path / "modelscope"


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    return error


def test_pulled_models_load_offline_under_their_spelling(
    address: str, repositories: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull([f"en={EN},zh={ZH}", "--modelscope", address]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [EN, ZH]
    for name, folder in zip((EN, ZH), repositories.values(), strict=True):
        assert embed.load(name).digest == embed.load(f"{name.partition(':')[0]}:{folder}").digest
    assert list(registry.list_fetched_models()) == [EN, ZH]


def test_a_revision_is_kept_apart_and_what_is_whole_is_not_fetched_again(
    repositories: dict[str, Path], home: Path
) -> None:
    asked: list[str] = []
    with fake_modelscope.serving(repositories, asked=asked) as address:
        for model in (f"{ZH}@{fake_modelscope.COMMIT}", ZH, ZH):
            assert pull([model, "--modelscope", address]) == 0
    assert sum(map(bool, asked)) == 2 * 4
    assert sorted(path.name for path in (home / "me" / "zh").iterdir()) == [fake_modelscope.COMMIT, "master"]


def test_a_damaged_file_is_found_and_pulling_repairs_it(
    address: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull([ZH, "--modelscope", address]) == 0
    assert verify([ZH]) == 0
    words = home / "me" / "zh" / "master" / "vocab.txt"
    words.write_bytes(words.read_bytes() + b"!")
    capsys.readouterr()
    assert verify([ZH]) == 1
    assert "vocab.txt: is not what was fetched" in one_line(capsys)
    assert pull([ZH, "--modelscope", address]) == 0
    assert verify([ZH]) == 0


def test_checksums_are_in_the_format_of_sha256sum(address: str, home: Path) -> None:
    assert pull([ZH, "--modelscope", address]) == 0
    done = subprocess.run(
        ["sha256sum", "-c", CHECKSUMS], cwd=home / "me" / "zh" / "master", capture_output=True, check=True
    )
    assert done.stdout.count(b": OK") == 4


@pytest.mark.parametrize(
    ("model", "status", "message"),
    [
        ("chinese_clip:modelscope:me/none", 1, "has no me/none to read"),
        (f"{ZH}@v9", 1, "has no me/zh at v9 to read"),
        ("open_clip:modelscope:me/zh", 1, "me/zh has no open_clip_config.json"),
        ("open_clip:modelscope:en", 2, "write modelscope:org/name"),
        ("chinese_clip:modelscope:../zh", 2, "names no repository"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(
    address: str, model: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull([model, "--modelscope", address]) == status
    assert message in one_line(capsys)


@pytest.mark.parametrize(
    ("address", "status", "message"),
    [(CLOSED, 1, "MODELSCOPE_ENDPOINT names another"), ("file:///etc", 2, "is no address")],
)
def test_an_address_without_a_service_is_one_line(
    address: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull([ZH, "--modelscope", address]) == status
    assert message in one_line(capsys)


def test_without_the_client_the_extra_is_named(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "modelscope_hub" else find_spec(name))
    assert pull([ZH, "--modelscope", address]) == 1
    assert "needs modelscope_hub: install it with pip install 'xcomp[modelscope]'" in one_line(capsys)


def test_offline_means_offline_and_the_environment_names_the_address(
    repositories: dict[str, Path], tmp_path: Path
) -> None:
    asked: list[str] = []
    with fake_modelscope.serving(repositories, asked=asked) as address:
        environment = {**os.environ, "MODELSCOPE_ENDPOINT": address, "HF_HOME": str(tmp_path)}
        for offline, status, message in (("1", 1, "HF_HUB_OFFLINE is set"), ("0", 0, "")):
            command = [sys.executable, "-m", "xcomp_indexer.admin.pull_models", ZH]
            variables = {**environment, "HF_HUB_OFFLINE": offline}
            done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
            assert done.returncode == status, done.stderr
            assert message in done.stderr
            assert bool(asked) is not bool(status)


def test_loading_never_fetches(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", address)
    for model in (EN, ZH):
        with pytest.raises(ModelError, match=f"xcomp models pull {model}"):
            embed.load(model)
