"""TLS, mutual TLS, tokens with roles and scopes, over real channels; no log and no error has a secret in it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

from tests import images, servers
from tests.indexing import serving
from tests.scripted import scripted_service
from xcomp_indexer.images.decode import content_hash
from xcomp_indexer.server import main as indexer_server
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Denied, InvalidRequest, NotFound, Unauthenticated, Unavailable
from xcomp_protos.server.auth import Access, Grant
from xcomp_protos.server.options import is_private
from xcomp_protos.server.run import RunningServer, ServerEndpoint, ServiceSpec, start_server
from xcomp_protos.telemetry import logs
from xcomp_protos.tls import ClientTls, ServerTls, client_tls, server_tls

TOKENS = Access(
    (Grant("read", frozenset(), "r-token"), Grant("write", frozenset(("press",)), "w-token"), Grant(token="a-token"))
)


@dataclass(frozen=True)
class Files:
    """PEM files on disk."""

    ca: str
    certificate: str
    key: str


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def files(authority: trustme.CA, folder: Path, name: str) -> Files:
    leaf = authority.issue_cert(name)
    made = Files(*(str(folder / f"{name}.{kind}") for kind in ("ca", "pem", "key")))
    authority.cert_pem.write_to_path(made.ca)
    leaf.private_key_pem.write_to_path(made.key)
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(made.certificate, append=True)
    return made


@contextmanager
def running(*, access: Access | None = None, tls: ServerTls | None = None) -> Iterator[RunningServer]:
    service = scripted_service()
    register = ServiceSpec("xcomp.v1.Indexer", lambda server: rpc.add_IndexerServicer_to_server(service, server))
    with start_server([register], ServerEndpoint("localhost:0", access=access, tls=tls)) as server:
        yield server


def test_calls_travel_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    of_server = files(authority, tmp_path, "localhost")
    with running(tls=server_tls(of_server.certificate, of_server.key, "")) as server:
        assert server.address.startswith("grpcs://localhost:")
        with IndexerClient(server.address, tls=client_tls(of_server.ca, "", "")) as client:
            assert client.describe().version == "1"
            assert len(list(client.ingest(pb.IngestRequest()))) == 3
        with IndexerClient(server.address) as client, pytest.raises(Unavailable, match="trust each other's"):
            client.describe()  # the system does not trust this authority
        with IndexerClient(server.address.removeprefix("grpcs://")) as client, pytest.raises(Unavailable):
            client.describe()  # it refuses plain text


def test_a_certificate_of_another_name_is_not_trusted(authority: trustme.CA, tmp_path: Path) -> None:
    other = files(authority, tmp_path, "elsewhere.example")
    with (
        running(tls=server_tls(other.certificate, other.key, "")) as server,
        IndexerClient(server.address, tls=client_tls(other.ca, "", "")) as client,
        pytest.raises(Unavailable),
    ):
        client.describe()


def test_mutual_tls_asks_callers_for_a_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    mine, theirs = files(authority, tmp_path, "localhost"), files(authority, tmp_path, "composer.example")
    stranger = files(trustme.CA(), tmp_path, "stranger.example")
    with running(tls=server_tls(mine.certificate, mine.key, mine.ca)) as server:
        with IndexerClient(server.address, tls=client_tls(mine.ca, theirs.certificate, theirs.key)) as client:
            assert client.describe().version == "1"
        for trust in (
            client_tls(mine.ca, "", ""),
            client_tls(mine.ca, stranger.certificate, stranger.key),
        ):
            with IndexerClient(server.address, tls=trust) as client, pytest.raises(Unavailable):
                client.describe()


def test_wrong_files_are_refused_in_one_line(authority: trustme.CA, tmp_path: Path) -> None:
    mine, other = files(authority, tmp_path, "localhost"), files(authority, tmp_path, "other.example")
    (tmp_path / "text").write_text("no certificate")
    text, missing = str(tmp_path / "text"), str(tmp_path / "missing")
    for arguments in (
        (mine.certificate, "", ""),
        ("", mine.key, ""),
        ("", "", mine.ca),
        (mine.certificate, other.key, ""),
        (text, mine.key, ""),
        (missing, mine.key, ""),
        (mine.certificate, mine.key, text),
        (mine.certificate, mine.key, missing),
    ):
        with pytest.raises(InvalidRequest, match=r"^--tls-"):
            server_tls(*arguments)
    assert client_tls("", "", "") == ClientTls()


def test_a_role_opens_its_methods_over_the_wire() -> None:
    with running(access=TOKENS) as server:
        with IndexerClient(server.address, token="r-token") as reader:
            assert reader.describe().version == "1"
            with pytest.raises(Denied, match="Ingest needs a token of role write, this one has read"):
                list(reader.ingest(pb.IngestRequest(repository="press")))
        with IndexerClient(server.address, token="w-token") as writer:
            assert len(list(writer.ingest(pb.IngestRequest(repository="press")))) == 3
            with pytest.raises(Denied, match="does not open 'private'"):
                list(writer.ingest(pb.IngestRequest(repository="private")))
        with IndexerClient(server.address, token="x-token") as stranger, pytest.raises(Unauthenticated):
            stranger.describe()


def test_a_scoped_token_sees_only_its_repositories(tmp_path: Path) -> None:
    content = images.jpeg()
    header = pb.UploadHeader(name="a.jpg", size_bytes=len(content), content_hash=content_hash(content))
    with serving(tmp_path / "store", access=TOKENS) as indexer:
        with IndexerClient(indexer.address, token="a-token") as admin:
            for name in ("press", "private"):
                admin.create_repository(pb.CreateRepositoryRequest(name=name, profile="color"))
        with IndexerClient(indexer.address, token="w-token") as writer:
            header.repository = "private"
            with pytest.raises(Denied, match="does not open 'private'"):
                writer.upload(header, [content])
            header.repository = "press"
            assert writer.upload(header, [content]).image_id
            assert [each.name for each in writer.list_repositories()] == ["press"]
            assert [each.name for each in writer.describe().repositories] == ["press"]
            with pytest.raises(Denied):
                writer.describe("private")


def test_only_an_admin_makes_repositories(tmp_path: Path) -> None:
    content = images.jpeg()
    header = pb.UploadHeader(repository="press", name="a.jpg", size_bytes=len(content))
    header.content_hash = content_hash(content)
    folder = images.library(tmp_path / "photos", {"a.jpg": images.RED})
    with serving(tmp_path / "store", access=TOKENS) as indexer:
        with IndexerClient(indexer.address, token="w-token") as writer:
            with pytest.raises(Denied, match="creating one needs a token of role admin"):
                writer.upload(header, [content])
            with pytest.raises(Denied, match="creating one needs a token of role admin"):
                list(writer.ingest(pb.IngestRequest(repository="press", paths=[str(folder)])))
        with IndexerClient(indexer.address, token="a-token") as admin:
            assert admin.list_repositories() == []
            assert list(admin.ingest(pb.IngestRequest(repository="press", paths=[str(folder)])))


def test_a_missing_repository_names_no_other_to_a_scoped_token(tmp_path: Path) -> None:
    with serving(tmp_path / "store", access=TOKENS) as indexer:
        with IndexerClient(indexer.address, token="a-token") as admin:
            admin.create_repository(pb.CreateRepositoryRequest(name="private", profile="color"))
            assert admin.describe().models_loaded
            with pytest.raises(NotFound, match="there are: private"):
                admin.describe("press")
        with IndexerClient(indexer.address, token="w-token") as writer:
            with pytest.raises(NotFound) as caught:
                writer.list_images(pb.ListRequest(repository="press"))
            assert "private" not in str(caught.value)
            assert not writer.describe().models_loaded


def test_a_query_by_a_restricted_image_needs_allow_restricted(tmp_path: Path) -> None:
    folder = images.library(tmp_path / "photos", {"a.jpg": images.RED, "b.jpg": images.BLUE})
    (folder / "a.jpg.json").write_text('{"internal": true}')
    with serving(tmp_path / "store") as indexer:
        indexer.ingest(folder)
        listing = pb.ListRequest(repository="default", allow_restricted=True)
        restricted = next(each.id for each in indexer.client.list_images(listing).images if each.path.endswith("a.jpg"))
        request = pb.SearchRequest(repository="default", k=2)
        request.queries.add().parts.add(image_id=restricted)
        with pytest.raises(Denied, match="allow_restricted"):
            indexer.client.search(request)
        request.allow_restricted = True
        assert indexer.client.search(request).results


def test_a_server_open_to_the_network_must_be_told_what_to_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tokens").write_text("read sixteen-characters\n")
    (tmp_path / "tokens").chmod(0o600)
    arguments = ["--home", str(tmp_path), "--profile", "color", "--token-file", str(tmp_path / "tokens")]
    assert indexer_server.main(["--listen", "0.0.0.0:0", *arguments]) == 2
    assert "--allow-root" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_files_of_the_store_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = images.library(tmp_path / "photos", {"a.jpg": images.RED})
    with servers.indexer(tmp_path) as process, IndexerClient(process.address) as client:
        list(client.ingest(pb.IngestRequest(repository="default", paths=[str(folder)])))
        found = [path for path in (tmp_path / "home").rglob("*") if path.lstat().st_mode & 0o077]
        assert list((tmp_path / "home").rglob("*"))
        assert found == []


def test_a_log_line_cannot_be_forged() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "model=%s", ("a\n2026 FORGED\x1b[2J\u202e",), None)
    line = logs.LineFormatter("%(message)s").format(record)
    assert line == r"model=a\n2026 FORGED\x1b[2J\u202e"


def test_no_token_is_in_logs_errors_or_reflection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    with running(access=TOKENS) as server:
        for token in ("a-token", "w-token", "sneaky-token"):
            with IndexerClient(server.address, token=token) as client:
                for action in (client.describe, lambda client=client: client.delete_repository("private")):
                    try:
                        action()
                    except Exception as error:  # noqa: BLE001  # the test reads the text of any error
                        said.append(str(error))
    assert said
    assert "-token" not in caplog.text + " ".join(said)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:7411", "indexer:7411"])
def test_a_server_open_to_the_network_needs_a_token_or_a_certificate(
    listen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = indexer_server.main(["--listen", listen, "--home", str(tmp_path), "--profile", "color"])
    assert status == 2
    assert "is open to the network: name a --token-file" in capsys.readouterr().err


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:1", "[::1]:0", "127.8.8.8:1", "unix:/run/x.sock"])
def test_a_private_address_needs_no_token(listen: str) -> None:
    assert is_private(listen)


def test_a_header_that_is_nearly_right_is_unauthenticated() -> None:
    with running(access=TOKENS) as server, grpc.insecure_channel(server.address) as channel:
        for value in ("Bearer ~", "bearer a-token", "Basic a-token", "Bearer a-token "):
            with pytest.raises(grpc.RpcError) as caught:
                rpc.IndexerStub(channel).Describe(pb.DescribeRequest(), metadata=(("authorization", value),))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, value
