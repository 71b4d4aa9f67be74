"""What `xcomp status` says is wrong, and that it comes with a way to fix it."""

import json
import os
import shlex
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.unit.cli.fake_servers import FakeComposer, FakeIndexer, serving
from xcomp_cli.commands import status
from xcomp_cli.diagnostics import servers
from xcomp_cli.local_server.state import State
from xcomp_cli.main import run
from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import indexer_pb2 as pb


def facts(fake: FakeIndexer, folder: Path, capsys: pytest.CaptureFixture[str], *, also: str = "") -> list[str]:
    """Returns what is wrong, as check and fact."""
    with serving(fake, folder) as address:
        assert run(["status", "--json", "--indexer", address, *shlex.split(also)]) == 0
        told = json.loads(capsys.readouterr().out)["findings"]
        assert run(["status", "--indexer", address, *shlex.split(also)]) == 0
        said = capsys.readouterr().out
    assert all(not each["ok"] and f"✗ {each['check']}: {each['fact']}" in said for each in told)
    assert said.count("✗") == len(told)
    return [f"{each['check']}: {each['fact']}" for each in told]


def repository(name: str = "default", *, images: int = 10) -> pb.Repository:
    one = pb.Repository(name=name, profile="lite", images=images)
    one.spaces.add(name="lite", source="color", model="color", images=images, state="active")
    return one


def test_nothing_is_wrong_with_a_sound_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeIndexer()
    fake.repositories = [repository()]
    told = facts(fake, tmp_path, capsys)
    assert told == []


def test_failed_files_come_with_the_run_that_reads_them_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeIndexer()
    fake.repositories = [repository(), repository("trips")]
    for one in fake.repositories:
        one.failures.update({"truncated": 3, "permission": 2})
    way = "5 files failed (3 truncated, 2 permission): repair them, then: xcomp index --retry-failed FOLDER"
    told = facts(fake, tmp_path, capsys)
    assert told == [f"repository default: {way}", f"repository trips: {way} --repo trips"]


def test_files_that_are_gone_and_were_kept_come_with_both_ways_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeIndexer()
    fake.repositories = [repository()]
    fake.repositories[0].last_ingest.update({"removable": 7})
    (told,) = facts(fake, tmp_path, capsys)
    assert "missed the files of 7 images" in told
    assert "restore their folder" in told
    assert "xcomp index --prune FOLDER" in told


@pytest.mark.parametrize(
    ("state", "images", "fact"),
    [
        ("filling", 4, "space fine lacks 6 of 10 images: xcomp repo space add default fine"),
        ("active", 9, "space fine lacks 1 of 10 images: xcomp repo space add default fine"),
        ("standby", 10, "space fine is complete and does not answer: xcomp repo space switch default fine"),
    ],
)
def test_a_space_that_is_not_finished_comes_with_the_next_step(
    state: str, images: int, fact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeIndexer()
    fake.repositories = [repository()]
    fake.repositories[0].spaces.add(name="fine", source="color", images=images, state=state)
    (told,) = facts(fake, tmp_path, capsys)
    assert fact in told


def test_a_repository_that_cannot_be_opened_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeIndexer()
    fake.repositories = [pb.Repository(name="old", problem="it is damaged: delete it"), repository()]
    told = facts(fake, tmp_path, capsys)
    assert told == ["repository old: it is damaged: delete it"]
    with serving(fake, tmp_path) as address:
        assert run(["repo", "list", "--indexer", address]) == 0
        assert "old: cannot be opened: it is damaged: delete it\n" in capsys.readouterr().out
        assert run(["repo", "list", "--json", "--indexer", address]) == 0
    assert [one["problem"] for one in json.loads(capsys.readouterr().out)] == ["it is damaged: delete it", ""]


@pytest.mark.parametrize("loaded", [False, True])
def test_a_model_that_is_not_here_comes_with_its_command(
    loaded: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    one = repository()
    one.spaces.add(name="en", source=model, model=model, images=10, state="active")
    described = pb.DescribeResponse(repositories=[one], models_loaded=[model] if loaded else [])
    told = [finding.fact for finding in servers.check_repositories(described, local=True)]
    assert len(told) == (0 if loaded else 1)
    assert all(f"xcomp models pull {model}" in fact or "pip install" in fact for fact in told)
    assert not list(servers.check_repositories(described, local=False))  # of another machine nothing is known


def test_a_server_that_does_not_serve_says_so_and_where_to_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeIndexer()
    fake.health = health_pb2.HealthCheckResponse.NOT_SERVING
    (told,) = facts(fake, tmp_path, capsys)
    assert told.startswith("indexer: NOT_SERVING: ")
    assert "its log says which" in told


def test_a_store_that_is_away_ends_in_4_with_what_the_server_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeIndexer()
    fake.refusal = (grpc.StatusCode.UNAVAILABLE, "the store http://127.0.0.1:6333 does not answer: start it")
    with serving(fake, tmp_path) as address:
        assert run(["status", "--indexer", address]) == 4
    assert "the store http://127.0.0.1:6333 does not answer: start it" in capsys.readouterr().err


def test_an_indexer_that_is_away_ends_in_4_with_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--indexer", "127.0.0.1:1"]) == 4
    assert "start it there with: xcomp serve indexer --listen 127.0.0.1:1" in capsys.readouterr().err


def test_a_composer_that_is_away_ends_in_4_after_all_else_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeIndexer()
    fake.repositories = [repository()]
    with serving(fake, tmp_path) as address:
        assert run(["status", "--indexer", address, "--composer", "127.0.0.1:1"]) == 4
    said = capsys.readouterr().out
    assert "repository default: 10 images" in said
    assert "xcomp serve composer --listen 127.0.0.1:1" in said


def test_a_local_composer_that_the_next_command_replaces_is_nothing_wrong(tmp_path: Path) -> None:
    composer = FakeComposer(cpb.Article())
    composer.described = cpb.DescribeComposerResponse(indexer="unix:/before.sock", indexer_status="UNREACHABLE")
    with serving(FakeIndexer(), tmp_path, composer) as address:
        state = State(os.getpid(), address, build="", options=())
        assert status._check_composer("", "unix:/now.sock", state) == ([], True)
        (told,), _ = status._check_composer("", "unix:/before.sock", state)
    assert told.fault


def test_a_composer_whose_indexer_is_away_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    composer = FakeComposer(cpb.Article())
    composer.described = cpb.DescribeComposerResponse(indexer="127.0.0.1:7411", indexer_status="UNREACHABLE")
    (tmp_path / "c").mkdir()
    with serving(FakeIndexer(), tmp_path / "c", composer) as other:
        (told,) = facts(FakeIndexer(), tmp_path, capsys, also=f"--composer {other}")
    assert told.startswith("indexer of the composer: UNREACHABLE for the composer, at 127.0.0.1:7411: look at")


def test_status_says_what_runs_each_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeIndexer()
    fake.engines = {"lite:minilm": "openvino cpu fp32", "other": ""}
    with serving(fake, tmp_path) as address:
        assert run(["status", "--indexer", address]) == 0
        assert "models     lite:minilm (openvino cpu fp32), other\n" in capsys.readouterr().out
        assert run(["status", "--indexer", address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["engines"] == fake.engines
