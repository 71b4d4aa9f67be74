"""`xcomp index` against a canned indexer."""

import json
from pathlib import Path

import grpc
import pytest

from tests.unit.cli.fake_servers import FakeIndexer
from xcomp_cli.main import run
from xcomp_protos import indexer_pb2 as pb


def summary(**counts: float | str) -> pb.IngestEvent:
    return pb.IngestEvent(summary=pb.IngestSummary(repository="default", **counts))  # type: ignore[arg-type]  # counts


def failure(path: str) -> pb.IngestEvent:
    return pb.IngestEvent(failure=pb.IngestFailure(path=path, reason="truncated", message="ends too early"))


def test_json_has_the_contract_keys_and_nothing_else_is_on_stdout(
    indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]
) -> None:
    indexer.events = [
        pb.IngestEvent(progress=pb.IngestProgress(scanned=2, done=1, total=2)),
        failure("/photos/broken.jpg"),
        pb.IngestEvent(
            summary=pb.IngestSummary(
                repository="default", scanned=2, added=1, failed=1, seconds=2, stages={"embed.en": 1, "decode": 0.5}
            )
        ),
    ]
    assert run(["index", "server:/photos", "--json"]) == 0
    said = capsys.readouterr()
    value = json.loads(said.out)
    assert value["failed"] == [{"path": "/photos/broken.jpg", "reason": "truncated", "message": "ends too early"}]
    assert (value["repository"], value["scanned"], value["added"], value["seconds"]) == ("default", 2, 1, 2.0)
    assert value["stages"] == {"decode": 0.5, "embed.en": 1.0}
    assert set(value) >= {"updated", "unchanged", "renamed", "removed", "images_per_second"}
    assert said.err == ""


def test_request_carries_the_flags(indexer: FakeIndexer) -> None:
    flags = [
        "--repo",
        "trips",
        "--profile",
        "lite",
        "--no-prune",
        "--dry-run",
        "--exclude",
        "*.png",
        "--exclude",
        "raw",
        "--retry-failed",
    ]
    assert run(["index", "server:/a", "server:/b", *flags]) == 0
    request = indexer.requests[0]
    assert isinstance(request, pb.IngestRequest)
    assert list(request.paths) == ["/a", "/b"]
    assert (request.repository, request.profile, request.dry_run) == ("trips", "lite", True)
    assert request.retry_failed
    assert request.HasField("prune")
    assert not request.prune
    assert list(request.exclude) == ["*.png", "raw"]


def test_prune_is_left_to_the_server_without_a_flag(indexer: FakeIndexer) -> None:
    run(["index", "server:/a"])
    request = indexer.requests[0]
    assert isinstance(request, pb.IngestRequest)
    assert not request.HasField("prune")


def test_what_went_wrong_beside_is_a_warning(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    indexer.events = [summary(scanned=1, added=1, notice="no room to make search fast")]
    assert run(["index", "server:/photos"]) == 0
    assert capsys.readouterr().err == "warning: no room to make search fast\n"


def test_skipped_files_are_named_on_stderr(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    indexer.events = [failure("/photos/br\x1b[31moken.jpg"), summary(scanned=2, added=1, failed=1)]
    assert run(["index", "server:/photos"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("default: 1 added · 1 skipped")
    assert said.err == "warning: skipped /photos/br\\x1b[31moken.jpg: ends too early\n"


def test_strict_ends_in_3_when_a_file_was_skipped(indexer: FakeIndexer) -> None:
    indexer.events = [failure("/photos/x.jpg"), summary(scanned=2, added=1, failed=1)]
    assert run(["index", "server:/photos", "--strict"]) == 3


def test_refused_prune_ends_in_3_and_names_the_flag(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    indexer.events = [summary(scanned=50, unchanged=50, removable=40)]
    assert run(["index", "server:/photos"]) == 3
    assert "gone: 40 images, which" in (said := capsys.readouterr().err)
    assert "--prune" in said


def test_folder_without_images_is_done_and_says_so(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["index", "server:/photos"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("default: nothing to do")
    assert said.err == "no images were found there\n"


def test_behind_a_unix_socket_paths_are_its_own(indexer: FakeIndexer, tmp_path: Path) -> None:
    assert run(["index", str(tmp_path)]) == 0
    request = indexer.requests[0]
    assert isinstance(request, pb.IngestRequest)
    assert list(request.paths) == [str(tmp_path)]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.NOT_FOUND, 1),
        (grpc.StatusCode.FAILED_PRECONDITION, 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
        (grpc.StatusCode.UNAVAILABLE, 4),
    ],
)
def test_refusal_of_the_server_is_one_line_with_its_exit_status(
    indexer: FakeIndexer, code: grpc.StatusCode, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    indexer.refusal = (code, "the fact and the way out")
    assert run(["index", "server:/photos"]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: the fact and the way out\n"
