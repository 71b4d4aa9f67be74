"""The options of the servers: flag, environment variable, default."""

import argparse
import os
from pathlib import Path

import pytest

from xcomp_indexer.server import main as indexer_server
from xcomp_protos.errors import InvalidRequest
from xcomp_protos.server import auth
from xcomp_protos.server.options import add_endpoint, add_option, read_endpoint


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_option(parser, "--place", "XCOMP_TEST_PLACE", default="here", help="a place")
    add_option(parser, "--seconds", "XCOMP_TEST_SECONDS", kind=float, help="a time")
    add_option(parser, "--root", "XCOMP_TEST_ROOT", many=True, help="folders")
    add_option(parser, "--eager", "XCOMP_TEST_EAGER", boolean=True, help="at once")
    add_option(parser, "--level", "XCOMP_TEST_LEVEL", choices=("low", "high"), default="low", help="how much")
    return parser.parse_args(arguments)


def test_defaults_hold_without_flag_and_variable() -> None:
    assert vars(parse()) == {"place": "here", "seconds": None, "root": None, "eager": False, "level": "low"}


def test_variables_stand_in_for_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"PLACE": "there", "SECONDS": "2.5", "ROOT": f"/a{os.pathsep}/b", "EAGER": "Yes", "LEVEL": "high"}
    for name, value in values.items():
        monkeypatch.setenv(f"XCOMP_TEST_{name}", value)
    assert vars(parse()) == {"place": "there", "seconds": 2.5, "root": ["/a", "/b"], "eager": True, "level": "high"}


def test_flags_win_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XCOMP_TEST_PLACE", "there")
    monkeypatch.setenv("XCOMP_TEST_ROOT", "/a")
    options = parse("--place", "elsewhere", "--root", "/b", "--root", "/c")
    assert (options.place, options.root) == ("elsewhere", ["/b", "/c"])
    assert parse().root == ["/a"]


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XCOMP_TEST_PLACE", "")
    monkeypatch.setenv("XCOMP_TEST_EAGER", "")
    assert (parse().place, parse().eager) == ("here", False)


@pytest.mark.parametrize(("variable", "value"), [("SECONDS", "soon"), ("LEVEL", "loud")])
def test_a_wrong_value_is_a_usage_error_from_a_variable_too(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"XCOMP_TEST_{variable}", value)
    with pytest.raises(SystemExit) as caught:
        parse()
    assert caught.value.code == 2
    assert value in capsys.readouterr().err


@pytest.mark.parametrize("value", ["", os.pathsep, f"/a{os.pathsep}", f"{os.pathsep}/a", " "])
def test_an_empty_part_of_a_list_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XCOMP_TEST_ROOT", value)
    with pytest.raises(SystemExit):
        parse()
    monkeypatch.delenv("XCOMP_TEST_ROOT")
    with pytest.raises(SystemExit):
        parse("--root", "")


def test_open_metrics_and_tokens_in_plain_text_are_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "token").write_text("a-secret-of-the-test\n")
    (tmp_path / "token").chmod(0o600)
    file = str(tmp_path / "token")
    read_endpoint(endpoint_options(token_file=file, metrics_listen="127.0.0.1:9411"))
    assert not caplog.records
    read_endpoint(endpoint_options(listen="0.0.0.0:7411", token_file=file, metrics_listen="0.0.0.0:9411"))
    assert "event=plain_tokens listen=0.0.0.0:7411" in caplog.text
    assert "event=open_metrics listen=0.0.0.0:9411" in caplog.text


def _defaults() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_endpoint(parser, "127.0.0.1:0", "XCOMP_TEST_LISTEN")
    return parser.parse_args([])


def endpoint_options(**values: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(_defaults()), **values})


def test_the_token_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-secret-of-the-test\n")
    (tmp_path / "token").chmod(0o600)
    made = read_endpoint(endpoint_options(token_file=str(tmp_path / "token")))
    assert made.access == auth.allow_token("a-secret-of-the-test")


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
        (tmp_path / "token").chmod(0o600)
    with pytest.raises(InvalidRequest, match="--token-file"):
        read_endpoint(endpoint_options(token_file=str(tmp_path / "token")))


@pytest.mark.parametrize(
    "arguments", [["--profile", "sepia"], ["--store", "tape:x"], ["--token-file", "/nonexistent/token"]]
)
def test_the_indexer_refuses_wrong_options_in_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = indexer_server.main(["--listen", "127.0.0.1:0", "--home", str(tmp_path), "--profile", "color", *arguments])
    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1


def test_a_server_names_a_wrong_address_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://[bad")
    assert indexer_server.main(["--listen", "127.0.0.1:0", "--home", str(tmp_path)]) == 2
    assert "HF_ENDPOINT 'http://[bad' is no address" in capsys.readouterr().err
