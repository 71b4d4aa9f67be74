"""Finding, starting, sharing and replacing local servers, with real processes."""

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from xcomp_cli.commands import ps, stop
from xcomp_cli.local_server import clients, lock, manager, process
from xcomp_cli.local_server.paths import LOOPBACK, ServerPaths, data_home
from xcomp_cli.local_server.process import INDEXER, ServerProgram, wait_until
from xcomp_cli.local_server.state import State, find_running, write
from xcomp_cli.main import run
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Unauthenticated, Unavailable, Unsupported

ROOT = Path(__file__).resolve().parents[4]
FAKE = ServerProgram("indexer", "tests.unit.cli.fake_servers", ("grpc",), ("FAKE_SECRET",))


@pytest.fixture
def paths(short: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerPaths]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    made = ServerPaths(short / "home", "indexer")
    yield made
    manager.stop_server(made)


def ensure(paths: ServerPaths, *options: str) -> State:
    return manager.ensure(FAKE, paths, options=options, waiting=lambda what: nullcontext())


@pytest.fixture(autouse=True)
def known_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "INDEXER", FAKE)  # the client of its kind is chosen by identity


def test_second_command_finds_the_server_warm(paths: ServerPaths) -> None:
    first = ensure(paths)
    assert first.address.startswith("unix:")
    assert ensure(paths) == first


def test_concurrent_commands_share_one_server(paths: ServerPaths) -> None:
    found: list[State] = []
    threads = [threading.Thread(target=lambda: found.append(ensure(paths))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({state.pid for state in found}) == 1


def test_killed_server_is_started_again(paths: ServerPaths) -> None:
    first = ensure(paths)
    os.kill(first.pid, signal.SIGKILL)
    assert wait_until(lambda: find_running(paths) is None, 5)
    assert ensure(paths).pid != first.pid
    assert len(list(paths.state.parent.glob("*.sock"))) == 1


def test_server_of_another_build_is_replaced(paths: ServerPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "build_id", lambda: "older")
    first = ensure(paths)
    monkeypatch.setattr(process, "build_id", lambda: "newer")
    second = ensure(paths)
    assert second.build.startswith("newer")
    assert first.pid != second.pid


def test_server_of_other_settings_is_replaced(paths: ServerPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SECRET", "one")
    first = ensure(paths)
    assert ensure(paths) == first
    monkeypatch.setenv("FAKE_SECRET", "two")
    assert ensure(paths).pid != first.pid
    assert "two" not in paths.state.read_text()


def test_server_that_outlived_its_home_does_not_disturb_the_next(paths: ServerPaths) -> None:
    first = ensure(paths)
    shutil.rmtree(paths.home)
    second = ensure(paths)
    os.kill(first.pid, signal.SIGTERM)
    os.waitpid(first.pid, 0)
    assert ensure(paths) == second


def test_state_of_a_dead_server_is_not_believed(paths: ServerPaths) -> None:
    first = ensure(paths)
    manager.stop_server(paths)
    assert find_running(paths) is None
    assert str(first.pid) in paths.state.read_text()


def test_dying_server_is_reported_with_its_last_line(paths: ServerPaths) -> None:
    with pytest.raises(Unavailable, match=r"the indexer did not start: the store is broken \(log: "):
        ensure(paths, "--die")


def test_full_disk_is_named_where_a_server_dies(paths: ServerPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(Unavailable, match=rf"did not start: the disk of {paths.home} is full: make room"):
        ensure(paths, "--die")
    monkeypatch.setattr(clients, "data_home", lambda: paths.home)
    with (
        pytest.raises(Unavailable, match=r"ended \(log: .*\): the disk of .* is full"),
        clients._explain_server_end(INDEXER),
    ):
        raise Unavailable("it does not answer")


def test_missing_library_names_the_install_command(paths: ServerPaths) -> None:
    service = ServerProgram("indexer", "nothing", ("no_such_library",))
    with pytest.raises(Unsupported, match=r"needs no_such_library: pip install 'xcomp\[local\]'"):
        manager.require(service)


def test_long_path_falls_back_to_loopback_with_a_token(
    tmp_path: Path, paths: ServerPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xcomp_cli.local_server.paths.SOCKET_PATH_BYTES", 10)
    assert paths.new_address() == LOOPBACK
    state = ensure(paths)
    assert state.address.startswith("127.0.0.1:")
    assert not state.address.endswith(":0")
    assert Path(state.token_file).stat().st_mode & 0o077 == 0
    with IndexerClient(state.address, token=state.token()) as client:
        assert client.describe().build == str(state.pid)
    with IndexerClient(state.address, token="wrong") as client, pytest.raises(Unauthenticated):
        client.describe()


def test_socket_lies_in_a_private_folder(paths: ServerPaths) -> None:
    ensure(paths)
    assert paths.state.parent.stat().st_mode & 0o777 == 0o700
    assert paths.state.stat().st_mode & 0o077 == 0


def test_runtime_folder_holds_one_socket_for_each_home(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    first, second = (Path(ServerPaths(short / name, "indexer").new_address()) for name in ("a", "b"))
    assert first.parent != second.parent
    assert str(first).startswith(f"unix:{short}/xcomp-")


def test_folder_that_others_may_enter_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (tmp_path / "run").mkdir(mode=0o755)
    assert ServerPaths(tmp_path, "indexer").new_address() == LOOPBACK


@pytest.mark.parametrize("name", ["100%25", "a#b", "a?b", "\udcff", "long" * 25])
def test_path_that_is_no_address_falls_back_to_loopback(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    paths = ServerPaths(tmp_path / name, "indexer")
    paths.create()
    assert paths.new_address() == LOOPBACK


def test_home_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XCOMP_HOME", "/data/xcomp")
    assert data_home() == Path("/data/xcomp")
    monkeypatch.delenv("XCOMP_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_home() == Path("/data/xcomp")


def test_lock_is_free_again_when_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = lock.open_private(path)
    assert lock.take(descriptor)
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], os.environ)
    assert lock.is_held(path)
    os.close(descriptor)
    os.waitpid(child, 0)
    assert not lock.is_held(path)


def test_a_server_that_is_just_dying_is_said_to_have_ended(paths: ServerPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "data_home", lambda: paths.home)
    paths.create()
    descriptor = lock.open_private(clients.server_paths(INDEXER).state)
    assert lock.take(descriptor)
    write(clients.server_paths(INDEXER), State(os.getpid(), "unix:/x", build="", options=()))
    closing = threading.Timer(0.2, os.close, [descriptor])
    closing.start()
    with pytest.raises(Unavailable, match="starts a new one"), clients._explain_server_end(INDEXER):
        raise Unavailable("it does not answer")
    closing.join()
    with pytest.raises(clients.PartialResultSaved, match="draws the images"), clients._explain_server_end(INDEXER):
        raise clients.PartialResultSaved("--fill draws the images")


def test_ps_lists_what_runs_and_stop_ends_it(
    paths: ServerPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (ps, stop):
        monkeypatch.setattr(module, "server_paths", lambda service: ServerPaths(paths.home, service.name))
    assert run(["ps"]) == 0
    assert capsys.readouterr().err == "no local server runs: the next command that needs one starts it\n"
    assert run(["stop"]) == 0
    assert capsys.readouterr().out == "no local server runs\n"
    state = ensure(paths)
    assert run(["ps"]) == 0
    assert f"indexer    process {state.pid}  {state.address}" in capsys.readouterr().out
    assert run(["ps", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["server"], told["pid"], told["address"]) == ("indexer", state.pid, state.address)
    assert run(["stop", "composer"]) == 0
    assert find_running(paths) == state
    assert run(["stop", "studio"]) == 2
    capsys.readouterr()
    assert run(["stop"]) == 0
    assert capsys.readouterr().out == "stopped: indexer\n"
    assert find_running(paths) is None


def test_idle_local_servers_free_models_within_two_minutes_and_leave_within_fifteen() -> None:
    assert clients.FREE_MODELS_S * 1.1 <= 120
    assert clients.IDLE_S < 15 * 60 - manager.DRAIN_S / 2
