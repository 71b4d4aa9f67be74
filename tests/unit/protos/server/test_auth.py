"""Tokens: the token file, the role that a method needs, the repositories that a request names."""

from pathlib import Path

import pytest

from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import Denied, InvalidRequest
from xcomp_protos.server import auth
from xcomp_protos.server.auth import NEEDS, Access, Grant

SCOPED = Grant("write", frozenset(("holidays", "press")), "secret")


def read(tmp_path: Path, text: str) -> Access:
    path = tmp_path / "tokens"
    path.write_text(text)
    return auth.read_tokens(str(path), option="--token-file")


def test_a_token_file_has_roles_and_repositories(tmp_path: Path) -> None:
    found = read(tmp_path, "# of the newsroom\nread aaa\n\n  write bbb  press,archive\nccc\n")
    assert found.grants == (
        Grant("read", frozenset(), "aaa"),
        Grant("write", frozenset(("press", "archive")), "bbb"),
        Grant("admin", frozenset(), "ccc"),
    )


@pytest.mark.parametrize("line", ["owner secret", "read secret a b", "Read secret"])
def test_a_wrong_line_is_refused_without_repeating_its_secret(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidRequest, match=r"--token-file .*, line 1: write ROLE TOKEN") as caught:
        read(tmp_path, line)
    assert "secret" not in str(caught.value).replace("tokens", "")


def test_a_client_shows_the_first_token_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("read aaa\nadmin bbb\n")
    assert auth.read_secret(str(tmp_path / "mine"), option="XCOMP_TOKEN_FILE") == "aaa"


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
