"""Where servers listen and clients dial: ports, sockets, successors, drain."""

import socket
import threading
import time
from pathlib import Path

import grpc
import pytest

from tests.scripted import calling, raising, running, scripted_service, wait_until
from xcomp_protos import errors
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client import IndexerClient


def test_a_missing_server_is_unavailable_and_its_address_is_named(tmp_path: Path) -> None:
    for address in ("127.0.0.1:1", f"unix:{tmp_path}/none.sock"):
        with IndexerClient(address) as client, pytest.raises(errors.Unavailable, match=f"at {address} does not answer"):
            client.describe()


def test_a_dead_dependency_is_reported_in_the_words_of_the_server() -> None:
    service = scripted_service()
    service.describe = raising(errors.Unavailable("the store does not answer"))
    with calling(service) as client, pytest.raises(errors.Unavailable, match=r"^the store does not answer$"):
        client.describe()


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with running(scripted_service()) as server, IndexerClient(server.address) as client:
        assert client.describe().version == "1"


def test_a_port_in_use_is_unavailable() -> None:
    with (
        running(scripted_service()) as server,
        pytest.raises(errors.Unavailable, match="cannot listen on"),
        running(scripted_service(), listen=server.address),
    ):
        pass


def test_a_wrong_address_is_unavailable(tmp_path: Path) -> None:
    for listen in (
        "nonsense",
        "127.0.0.1:none",
        f"unix:{tmp_path}/{'x' * 200}",
        f"unix:{tmp_path}/no/such/folder.sock",
        "256.1.1.1:0",
    ):
        with pytest.raises(errors.Unavailable), running(scripted_service(), listen=listen):
            pass


def test_the_socket_of_a_dead_server_is_taken_over(short: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(short / "s"))
    dead.close()
    with running(scripted_service(), listen=f"unix:{short}/s") as server, IndexerClient(server.address) as client:
        assert client.describe().version == "1"
    assert not (short / "s").exists()


def test_the_socket_of_a_living_server_is_left_alone(short: Path) -> None:
    with running(scripted_service(), listen=f"unix:{short}/s") as server:
        with (
            pytest.raises(errors.Unavailable, match="another server answers there"),
            running(scripted_service(), listen=f"unix:{short}/s"),
        ):
            pass
        with IndexerClient(server.address) as client:
            assert client.describe().version == "1"


def test_a_file_in_the_place_of_the_socket_is_not_removed(short: Path) -> None:
    (short / "s").write_text("mine")
    with pytest.raises(errors.Unavailable), running(scripted_service(), listen=f"unix:{short}/s"):
        pass
    assert (short / "s").read_text() == "mine"


def test_a_draining_server_does_not_remove_the_socket_of_its_successor(short: Path) -> None:
    service, inside, release = scripted_service(), threading.Event(), threading.Event()
    leave = threading.Event()

    def work() -> None:
        inside.set()
        release.wait(60)

    service.describe = work

    def serve() -> None:
        with running(service, listen=f"unix:{short}/s"):
            leave.wait(60)

    leaving = threading.Thread(target=serve)
    leaving.start()
    with grpc.insecure_channel(f"unix:{short}/s") as channel:
        pending = rpc.IndexerStub(channel).Describe.future(pb.DescribeRequest(), wait_for_ready=True)
        assert inside.wait(60)
        leave.set()
        wait_until(lambda: not (short / "s").exists())  # it drains and has stopped listening
        with running(scripted_service(), listen=f"unix:{short}/s"):
            release.set()
            assert pending.result().version == "1"
            leaving.join(60)
            assert (short / "s").exists()


def test_active_calls_end_before_the_server() -> None:
    service, inside = scripted_service(), threading.Event()

    def work() -> None:
        inside.set()
        time.sleep(0.3)

    service.describe = work
    with running(service) as server:
        channel = grpc.insecure_channel(server.address)
        pending = rpc.IndexerStub(channel).Describe.future(pb.DescribeRequest())
        assert inside.wait(60)
    assert pending.result().version == "1"
    channel.close()
