"""Tokens: the token file, the role that a method needs, the repositories that a request names."""

import os
from pathlib import Path

import pytest

from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Denied, InvalidRequest
from xcomp_protos.server import auth
from xcomp_protos.server.auth import NEEDS, Access, Grant

SCOPED = Grant("write", frozenset(("holidays", "press")), "secret")


A, B, C = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"


def read(tmp_path: Path, text: str, mode: int = 0o600) -> Access:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return auth.read_tokens(str(path), option="--token-file")


def test_a_token_file_has_roles_and_repositories(tmp_path: Path) -> None:
    found = read(tmp_path, f"# of the newsroom\nread {A}\n\n  write {B}  press,archive\n{C}")
    assert found.grants == (
        Grant("read", frozenset(), A),
        Grant("write", frozenset(("press", "archive")), B),
        Grant("admin", frozenset(), C),
    )


@pytest.mark.parametrize("line", ["owner secret", "read secret a b", "Read secret"])
def test_a_wrong_line_is_refused_without_repeating_its_secret(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidRequest, match=r"--token-file .*, line 1: write ROLE TOKEN") as caught:
        read(tmp_path, line)
    assert "secret" not in str(caught.value).replace("tokens", "")


@pytest.mark.parametrize("line", ["read", "admin", "write", "x", "read x", "read admin", "write 123456789012345 press"])
def test_a_short_secret_and_the_name_of_a_role_open_nothing(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidRequest, match="line 1: a token has 16 characters or more"):
        read(tmp_path, line)


@pytest.mark.parametrize("scope", [",", "press,", ",press", "press,,archive"])
def test_an_empty_name_in_a_scope_does_not_open_everything(tmp_path: Path, scope: str) -> None:
    with pytest.raises(InvalidRequest, match="line 1: the list of repositories has an empty name"):
        read(tmp_path, f"read {A} {scope}")


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize("mode", [0o666, 0o644, 0o604, 0o660, 0o602])
def test_a_file_that_other_users_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InvalidRequest, match=r"is open to other users .*: run chmod 600"):
        read(tmp_path, f"read {A}\n", mode)
    assert read(tmp_path, f"read {A}\n", 0o640).grants


def test_a_client_shows_the_first_token_of_its_file(tmp_path: Path) -> None:
    read(tmp_path, f"read {A}\nadmin {B}\n")
    assert auth.read_secret(str(tmp_path / "tokens"), option="XCOMP_TOKEN_FILE") == A


def test_every_method_of_both_services_has_a_role() -> None:
    services = (pb.DESCRIPTOR.services_by_name["Indexer"], cpb.DESCRIPTOR.services_by_name["Composer"])
    assert {method.name for service in services for method in service.methods} == NEEDS.keys()


@pytest.mark.parametrize(
    ("role", "may"), [("read", ["Search"]), ("write", ["Search", "Ingest"]), ("admin", ["Search", "Ingest", "Export"])]
)
def test_a_role_includes_the_lower_roles(role: auth.Role, may: list[str]) -> None:
    for method in ("Search", "Ingest", "Export"):
        if method in may:
            Grant(role).check_method(method)
        else:
            with pytest.raises(Denied, match=f"{method} needs a token of role"):
                Grant(role).check_method(method)


def test_a_method_that_is_not_listed_needs_an_admin() -> None:
    with pytest.raises(Denied):
        Grant("write").check_method("Reboot")


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Search", pb.SearchRequest(repository="private")),
        ("Search", pb.SearchRequest()),
        ("Illustrate", cpb.IllustrateRequest(options=cpb.Options(repository="private"))),
        ("DeleteRepository", pb.DeleteRepositoryRequest(name="private")),
        ("CreateRepository", pb.CreateRepositoryRequest(name="private")),
        ("Upload", pb.UploadRequest(header=pb.UploadHeader(repository="private", name="press"))),
        ("Import", pb.ImportRequest(header=pb.ImportHeader(name="private"))),
        ("Edit", cpb.EditRequest(options=cpb.Options(repository="press"), article=cpb.Article(repository="private"))),
        ("Edit", cpb.EditRequest(article=cpb.Article(segments=[cpb.Segment(
            illustration=cpb.Illustration(repository="private"))]))),
    ],
)  # fmt: skip
def test_a_scoped_token_opens_only_its_own_repositories(method: str, request_: pb.SearchRequest) -> None:
    with pytest.raises(Denied, match=r"holidays, press"):
        SCOPED.check_request(method, request_)
    Grant("admin").check_request(method, request_)


def test_a_scoped_token_opens_its_repositories() -> None:
    SCOPED.check_request("Search", pb.SearchRequest(repository="press"))
    SCOPED.check_request("Describe", pb.DescribeRequest())
    parts = [pb.UploadRequest(header=pb.UploadHeader(repository="press")), pb.UploadRequest(chunk=b"x")]
    assert list(SCOPED.check_requests("Upload", iter(parts))) == parts


def test_answers_are_narrowed_to_what_a_token_opens() -> None:
    all_ = pb.DescribeResponse(repositories=[pb.Repository(name="private"), pb.Repository(name="press")])
    SCOPED.narrow(all_)
    assert [each.name for each in all_.repositories] == ["press"]
    SCOPED.narrow(pb.SearchResponse())
