"""The indexer as a process of its own: start, ports, signals, idling, and being killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import images
from tests.indexing import serving
from tests.nearness import assert_alike
from tests.processes import process
from tests.shim import Shim
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Unavailable

WAIT_S = 60


def request(photos: Path) -> pb.IngestRequest:
    return pb.IngestRequest(repository="default", paths=[str(photos)])


def holdings(client: IndexerClient) -> list[pb.ListResponse | pb.QueryResult]:
    """Everything a client can learn of the images, vectors by way of their scores."""
    page = client.list_images(pb.ListRequest(repository="default", page_size=1000))
    queries = [pb.Query(parts=[pb.QueryPart(text=color)]) for color in ("red", "green", "blue", "white")]
    return [page, *client.search(pb.SearchRequest(repository="default", queries=queries, k=1000)).results]


def test_a_killed_ingest_is_completed_by_the_next_run_as_if_nothing_had_happened(
    home: Path, photos: Path, tmp_path: Path
) -> None:
    colors = (images.RED, images.GREEN, images.BLUE, images.YELLOW)
    images.library(photos, {f"{at:03}.jpg": colors[at % 4] for at in range(120)})
    with process(home) as (server, address), IndexerClient(address) as client:
        with pytest.raises(Unavailable):  # noqa: PT012  # the kill comes within the stream
            for event in client.ingest(request(photos)):
                if event.progress.done >= 20:
                    server.kill()
        assert server.wait(WAIT_S) == -signal.SIGKILL
    with serving(home / "repositories") as resumed:
        summary, _ = resumed.ingest(photos)
        assert summary.added + summary.unchanged == 120
        assert summary.unchanged >= 16
        held = holdings(resumed.client)
    with serving(tmp_path / "undisturbed") as undisturbed:
        assert undisturbed.ingest(photos)[0].added == 120
        for found, expected in zip(holdings(undisturbed.client), held, strict=True):
            assert_alike(found, expected)


def test_sigterm_lets_the_call_under_way_end(home: Path, photos: Path, short: Path) -> None:
    images.library(photos, {f"{at:02}.jpg": images.RED for at in range(60)})
    with process(home, "--listen", f"unix:{short}/s") as (server, address), IndexerClient(address) as client:
        events = client.ingest(request(photos))
        next(events)
        server.send_signal(signal.SIGTERM)
        assert list(events)[-1].summary.added == 60
        assert server.wait(WAIT_S) == 0
        assert server.stderr
        assert "event=stopped" in server.stderr.read()
    assert not (short / "s").exists()


def test_an_idle_server_exits(home: Path) -> None:
    with process(home, "--idle-timeout", "0.5") as (server, address), IndexerClient(address) as client:
        assert client.list_repositories() == []
        assert server.wait(WAIT_S) == 0
        assert server.stderr
        assert "event=idle" in server.stderr.read()


def test_a_port_in_use_ends_in_one_line_and_status_1(home: Path, tmp_path: Path) -> None:
    with process(home) as (_, address):
        second = subprocess.run(
            [sys.executable, "-m", "xcomp_indexer.server.main", "--home", str(tmp_path / "other"), "--listen", address],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr.splitlines() == [
        f"error: cannot listen on {address}: Address already in use: choose another address with --listen"
    ]


def test_health_says_not_serving_until_the_models_are_loaded(home: Path) -> None:
    with process(home, "--preload") as (_, address), IndexerClient(address) as client:
        deadline = time.monotonic() + WAIT_S
        while not client.healthy():
            assert time.monotonic() < deadline
        assert list(client.describe().models_loaded) == ["color:hsv"]
        assert dict(client.describe().engines) == {"color:hsv": "numpy fp32"}


def test_a_profile_whose_models_are_not_there_says_so_before_it_serves(home: Path) -> None:
    with process(home, "--preload", "--profile", "clip") as (server, _):
        assert server.wait(WAIT_S) == 1
        assert server.stderr
        assert "--profile lite" in server.stderr.read().splitlines()[-1]


def test_two_servers_do_not_share_an_embedded_repository(home: Path, photos: Path) -> None:
    images.library(photos, {"red.jpg": images.RED})
    with process(home) as (_, first), process(home) as (_, second):
        with IndexerClient(first) as client:
            list(client.ingest(request(photos)))
        with IndexerClient(second) as client:
            assert "is held by process" in client.describe().repositories[0].problem


def health_of(address: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "xcomp_protos.client.health_check", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    return done.returncode, done.stdout + done.stderr


def test_health_says_not_serving_until_the_store_answers(home: Path) -> None:
    with Shim("grpc") as first:
        port = first.port
    with process(home, "--store", f"grpc://127.0.0.1:{port}") as (server, address):
        assert health_of(address) == (1, "NOT_SERVING\n")
        with Shim("grpc", port=port):
            deadline = time.monotonic() + WAIT_S
            while health_of(address) != (0, "SERVING\n"):
                assert time.monotonic() < deadline
        server.send_signal(signal.SIGTERM)
        assert server.wait(WAIT_S) == 0


def test_a_server_that_waits_for_its_store_can_be_told_to_leave(home: Path) -> None:
    with process(home, "--store", "grpc://127.0.0.1:1") as (server, address):
        assert health_of(address)[0] == 1
        server.send_signal(signal.SIGTERM)
        assert server.wait(WAIT_S) == 0


def test_health_of_a_missing_server_is_one_line_and_status_1() -> None:
    status, said = health_of("127.0.0.1:1")
    assert status == 1
    assert said.startswith("error: the server at 127.0.0.1:1 does not answer")
    assert len(said.splitlines()) == 1
