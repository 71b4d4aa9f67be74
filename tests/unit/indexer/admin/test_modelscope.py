"""Models from ModelScope, here one on loopback: fetched with digests, loaded offline, verified, refused in one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests import fake_modelscope
from tests.clip_checkpoints import chinese_clip_folder, open_clip_folder
from xcomp_cli.model_catalog import (
    find_others,
)
from xcomp_indexer import embed
from xcomp_indexer.admin.pull_models import main as pull
from xcomp_indexer.admin.verify_models import main as verify
from xcomp_protos.errors import ModelError

EN, ZH = "open_clip:modelscope:me/en", "chinese_clip:modelscope:me/zh"
NOBODY = "http://127.0.0.1:9"


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
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the hub cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{NOBODY}/{{repo_id}}/{{revision}}/{{filename}}")
    return tmp_path / "modelscope"


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


def test_pulled_models_load_offline_and_are_named_with_their_commit(
    address: str, repositories: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull([f"en={EN},zh={ZH}", "--modelscope", address]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [f"{EN}@{fake_modelscope.COMMIT}", f"{ZH}@{fake_modelscope.COMMIT}"]
    for name, spelled, folder in zip(names, (EN, ZH), repositories.values(), strict=True):
        family = name.partition(":")[0]
        assert embed.load(name).digest == embed.load(spelled).digest == embed.load(f"{family}:{folder}").digest
    assert [model.name for model in find_others()] == ["modelscope:me/en", "modelscope:me/zh"]


def test_a_commit_may_be_asked_for_and_what_is_whole_is_not_fetched_again(repositories: dict[str, Path]) -> None:
    asked: list[str] = []
    with fake_modelscope.serving(repositories, asked=asked) as address:
        for model in (f"{ZH}@{fake_modelscope.COMMIT}", ZH):
            assert pull([model, "--modelscope", address]) == 0
    assert sum("/resolve/" in path for path in asked) == 4


def test_a_damaged_file_is_found_and_pulling_heals_it(
    address: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull([ZH, "--modelscope", address]) == 0
    assert verify([ZH, "modelscope:me/zh"]) == 0
    blob = next(cache.glob("models--me--zh/snapshots/*/vocab.txt")).resolve()
    blob.write_bytes(blob.read_bytes() + b"!")
    capsys.readouterr()
    assert verify([ZH]) == 1
    assert "vocab.txt: is not what was fetched" in one_line(capsys)
    assert pull([ZH, "--modelscope", address]) == 0
    assert verify([ZH]) == 0


def test_a_wrong_digest_is_refused_and_nothing_is_kept(
    repositories: dict[str, Path], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake_modelscope.serving(repositories, lies=True) as address:
        assert pull([ZH, "--modelscope", address]) == 1
    assert "nothing was kept" in one_line(capsys)
    assert not [path for path in cache.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("chinese_clip:modelscope:me/none", 1, "has no me/none to read"),
        (f"{ZH}@v9", 1, "has no me/zh at v9 to read"),
        ("open_clip:modelscope:me/zh", 1, "me/zh has no open_clip_config.json"),
        ("open_clip:modelscope:en", 2, "write modelscope:org/name"),
        ("chinese_clip:modelscope:../zh", 2, "names no repository"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(
    address: str, model: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull([model, "--modelscope", address]) == status
    assert said in one_line(capsys)


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [(NOBODY, 1, "MODELSCOPE_ENDPOINT names another"), ("file:///etc", 2, "is no address")],
)
def test_an_address_without_a_service_is_one_line(
    address: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull([ZH, "--modelscope", address]) == status
    assert said in one_line(capsys)


def test_offline_means_offline_and_the_environment_names_the_address(
    repositories: dict[str, Path], tmp_path: Path
) -> None:
    asked: list[str] = []
    with fake_modelscope.serving(repositories, asked=asked) as address:
        environment = {**os.environ, "MODELSCOPE_ENDPOINT": address, "HF_HOME": str(tmp_path)}
        for offline, status, said in (("1", 1, "HF_HUB_OFFLINE is set"), ("0", 0, "")):
            command = [sys.executable, "-m", "xcomp_indexer.admin.pull_models", ZH]
            variables = {**environment, "HF_HUB_OFFLINE": offline}
            done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
            assert (done.returncode, len(done.stderr.splitlines())) == (status, status), done.stderr
            assert said in done.stderr
            assert bool(asked) is not bool(status)


def test_loading_never_fetches(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", address)
    for model in (EN, ZH):
        with pytest.raises(ModelError, match=f"xcomp models pull {model}"):
            embed.load(model)
