"""What `xcomp index` does where the models of a profile are missing."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.unit.cli.fake_servers import FakeIndexer, serving
from xcomp_cli.indexing import fetch
from xcomp_cli.local_server import clients
from xcomp_cli.main import run
from xcomp_cli.output import console
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient

PULLED: list[list[str]] = []


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIndexer:
    """A machine without weights, whose local indexer is canned and has no repository."""
    fake = FakeIndexer()
    monkeypatch.delenv("XCOMP_PROFILE", raising=False)
    monkeypatch.delenv("XCOMP_INDEXER", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    PULLED.clear()

    def pull(names: list[str], *, keep: bool = False) -> int:
        PULLED.append([*names, *(["--keep"] if keep else [])])
        return 0

    monkeypatch.setattr(fetch, "fetch", pull)
    return fake


def index(fake: FakeIndexer, folder: Path, *flags: str) -> int:
    """Runs `xcomp index`, the canned indexer being the local one."""
    with serving(fake, folder) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients, "indexer", lambda _: IndexerClient(address, timeout_s=10))
        return run(["index", str(folder), *flags])


def answer(patch: pytest.MonkeyPatch, letter: str) -> None:
    patch.setattr(console, "is_asking", lambda: True)
    patch.setattr("typer.prompt", lambda *_, **__: letter)


def ingested(fake: FakeIndexer) -> list[str]:
    return [request.profile for request in fake.requests if isinstance(request, pb.IngestRequest)]


def test_without_a_person_one_line_names_the_pull_of_the_whole_profile(
    fresh: FakeIndexer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert index(fresh, tmp_path) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "(1.4 GB)" in said or "1.4 GB," in said
    assert "xcomp models pull clip, or use --profile lite" in said
    assert not ingested(fresh)


@pytest.mark.parametrize(("letter", "profiles", "pulled"), [
    ("f", [""], [["clip", "--keep"]]), ("l", ["lite"], []), ("q", [], []),
])  # fmt: skip
def test_a_person_is_asked_whether_to_fetch_or_to_use_lite(
    fresh: FakeIndexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, letter: str, profiles: list[str],
    pulled: list[list[str]], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    answer(monkeypatch, letter)
    assert index(fresh, tmp_path) == (0 if profiles else 1)
    assert ingested(fresh) == profiles
    assert pulled == PULLED
    assert "1.4 GB" in capsys.readouterr().err


def test_a_repository_of_its_own_profile_is_offered_no_other(
    fresh: FakeIndexer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.repositories = [pb.Repository(name="default", profile="clip")]
    assert index(fresh, tmp_path) == 1
    said = capsys.readouterr().err
    assert "xcomp models pull clip" in said
    assert "--profile lite" not in said


def test_a_profile_whose_models_are_here_asks_nothing(fresh: FakeIndexer, tmp_path: Path) -> None:
    assert index(fresh, tmp_path, "--profile", "color") == 0
    assert ingested(fresh) == ["color"]


def test_an_interrupted_fetch_ends_its_process_silently(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = tmp_path / "slow_fetch.py"
    module.write_text("import time, pathlib\npathlib.Path('begun').touch()\ntime.sleep(60)\n")
    begun = tmp_path / "begun"

    def interrupt() -> None:
        end = time.monotonic() + 30
        while not begun.exists() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = Path.cwd()
    os.chdir(tmp_path)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fetch._run("slow_fetch")
    finally:
        thread.join()
        os.chdir(before)
        sys.modules.pop("slow_fetch", None)
    assert capfd.readouterr() == ("", "")
