"""Reading fetched models again: what was changed, lost or never whole is named."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests import fake_hub
from tests.clip_checkpoints import open_clip_folder
from tests.unit.indexer.admin.test_pull_models import redirect
from xcomp_indexer.admin.pull_models import main as pull
from xcomp_indexer.admin.verify_models import main as verify

MODEL = "open_clip:hf-hub:me/en"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache into which a model was pulled."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with fake_hub.serving({"me/en": open_clip_folder(tmp_path / "en")}) as address:
        redirect(monkeypatch, address)
        assert pull([MODEL]) == 0
    redirect(monkeypatch, "http://127.0.0.1:9")
    return tmp_path / "cache" / "models--me--en"


def weights(cache: Path) -> Path:
    return next(cache.glob("snapshots/*/open_clip_model.safetensors"))


def test_what_was_fetched_is_said_with_its_digests(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert verify([MODEL]) == 0
    said = capsys.readouterr().out
    assert f"{MODEL}: 2 files as fetched" in said
    assert hashlib.sha256(weights(cache).read_bytes()).hexdigest() in said


def test_a_changed_file_is_named(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob = weights(cache).resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    assert verify([MODEL]) == 1
    said = capsys.readouterr()
    assert "open_clip_model.safetensors: is not what was fetched" in said.err
    assert "1 of 2 files differ" in said.out


def test_a_lost_file_is_named(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights(cache).resolve().unlink()
    assert verify([MODEL]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_small_files_have_gits_digest(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = next(cache.glob("snapshots/*/open_clip_config.json"))
    content = config.read_bytes()
    named = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    target = config.resolve().rename(config.resolve().with_name(named))
    config.unlink()
    config.symlink_to(target)
    assert verify([MODEL]) == 0
    target.write_bytes(content + b" ")
    assert verify([MODEL]) == 1
    assert "open_clip_config.json: is not what was fetched" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("chinese_clip:missing/none", 1, "xcomp models pull chinese_clip:missing/none"),
        ("open_clip:/some/folder", 1, "is a folder of yours"),
        ("no such name", 2, "names no repository"),
    ],
)
def test_what_cannot_be_verified_is_one_line(
    name: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert verify([name]) == status
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
