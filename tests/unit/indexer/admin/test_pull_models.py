"""Fetching models from a hub, here one on loopback; the command runs as its users run it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests import fake_hub, loopback
from tests.clip_checkpoints import chinese_clip_folder, open_clip_folder
from xcomp_indexer import embed
from xcomp_indexer.admin.pull_models import main
from xcomp_indexer.admin.pull_models import pull as fetch
from xcomp_indexer.embed import registry
from xcomp_indexer.repository.profiles import spaces_of
from xcomp_protos.errors import InvalidRequest, ModelError


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a hub with a model of each family."""
    home = tmp_path_factory.mktemp("hub")
    repositories = {"me/en": open_clip_folder(home / "en", safe=False), "me/zh": chinese_clip_folder(home / "zh")}
    with fake_hub.serving(repositories) as address:
        yield address


def pull(address: str, home: Path, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xcomp_indexer.admin.pull_models", *names]
    variables = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)


def redirect(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Does in this process what HF_ENDPOINT does before its start."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_pulled_models_are_tried_and_then_load_offline(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    redirect(monkeypatch, hub)
    assert main(["en=open_clip:hf-hub:me/en,zh=chinese_clip:me/zh"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [f"open_clip:hf-hub:me/en@{fake_hub.COMMIT}", f"chinese_clip:me/zh@{fake_hub.COMMIT}"]
    redirect(monkeypatch, "http://127.0.0.1:9")
    assert [embed.load(name).name for name in names] == names


def test_what_was_pulled_is_listed_and_what_other_programs_keep_is_not(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pull(hub, tmp_path, "open_clip:hf-hub:me/en", "chinese_clip:me/zh").returncode == 0
    cache = tmp_path / "hub"
    theirs = cache / "models--them--bert" / "snapshots" / "1"
    theirs.mkdir(parents=True)
    (theirs / "config.json").write_text('{"model_type": "bert"}')
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    assert list(registry.list_fetched_models()) == ["open_clip:hf-hub:me/en", "chinese_clip:hf-hub:me/zh"]


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("open_clip:hf-hub:me/none", 1, "has no me/none to read"),
        ("open_clip:hf-hub:me/zh", 1, "me/zh has no open_clip_config.json"),
        ("chinese_clip:me/en", 1, "me/en has no config.json"),
        ("open_clip:nothing", 2, "names no model of open_clip"),
        ("unknown", 2, "unknown embedder"),
        ("open_clip:/no/folder", 1, "there is no folder /no/folder"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(hub: str, tmp_path: Path, name: str, status: int, said: str) -> None:
    failed = pull(hub, tmp_path, name)
    assert failed.returncode == status
    assert said in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_an_invalid_address_is_one_line(tmp_path: Path) -> None:
    failed = pull("http://[bad", tmp_path, "open_clip:hf-hub:me/en")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: HF_ENDPOINT 'http://[bad' is no address")
    assert len(failed.stderr.splitlines()) == 1


def test_only_files_are_asked_for(tmp_path: Path) -> None:
    asked: list[str] = []
    with fake_hub.serving({"me/zh": chinese_clip_folder(tmp_path / "zh")}, asked=asked) as address:
        command = [str(Path(sys.executable).parent / "xcomp"), "models", "pull", "chinese_clip:me/zh"]
        variables = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")}
        variables.pop("HF_HUB_DISABLE_TELEMETRY", None)
        subprocess.run(command, capture_output=True, env=variables, check=True)
    assert asked
    assert all(path.startswith("/me/zh/resolve/") for path in asked)


class HangsUp(BaseHTTPRequestHandler):
    """Says how much will come, and leaves after the first byte, or before."""

    def do_HEAD(self) -> None:  # the base class calls it so
        self.send_response(200)
        for name, value in (("X-Repo-Commit", fake_hub.COMMIT), ("ETag", '"e"'), ("Content-Length", "9")):
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"{")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Silent(HangsUp):
    """Leaves without a word."""

    def do_HEAD(self) -> None:
        self.close_connection = True

    def do_GET(self) -> None:
        self.do_HEAD()


@pytest.mark.parametrize(
    ("hub_is", "said"),
    [(HangsUp, "peer closed connection"), (Silent, "Server disconnected without sending a response")],
)
def test_a_hub_that_hangs_up_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_is: type[HangsUp], said: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client tries again, later each time
    with loopback.serving(hub_is) as address:
        redirect(monkeypatch, address)
        with pytest.raises(ModelError, match=said):
            fetch("chinese_clip:me/zh")


def test_offline_means_offline(hub: str, tmp_path: Path) -> None:
    failed = pull(hub, tmp_path, "chinese_clip:me/zh", HF_HUB_OFFLINE="1")
    assert failed.returncode == 1
    assert "cannot fetch config.json of me/zh" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_loading_never_fetches(hub: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    redirect(monkeypatch, hub)
    for model in ("open_clip:hf-hub:me/en", "chinese_clip:me/zh"):
        with pytest.raises(ModelError, match="is not on this machine"):
            embed.load(model)


def test_a_profile_may_spell_its_spaces_out() -> None:
    specs = spaces_of("en=open_clip:ViT-B-16/laion2b_s34b_b88k, zh=chinese_clip:/models/zh")
    assert [(spec.name, spec.model) for spec in specs] == [
        ("en", "open_clip:ViT-B-16/laion2b_s34b_b88k"),
        ("zh", "chinese_clip:/models/zh"),
    ]


@pytest.mark.parametrize("profile", ["en=", "=open_clip:x/y", "En=a:b", "en=a:b,en=c:d", "en=a:b,", "unheard-of"])
def test_an_invalid_spelling_of_a_profile_is_refused(profile: str) -> None:
    with pytest.raises(InvalidRequest):
        spaces_of(profile)
