"""The command line as a whole: help, usage errors, debugging, import cost, upkeep commands."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.fake_servers import FakeIndexer
from xcomp_cli.main import run
from xcomp_cli.output import console, progress
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import InvalidRequest
from xcomp_protos.server import auth


@pytest.fixture
def indexer(indexer: FakeIndexer) -> FakeIndexer:
    trips = pb.Repository(name="trips", profile="lite", images=3, size_bytes=2_000_000)
    trips.failures.update({"empty": 2, "truncated": 3})
    trips.spaces.add(name="lite", model="lite", dimension=384, languages=["en", "zh"], images=3)
    indexer.repositories = [trips]
    return indexer


def test_help_imports_no_command_and_no_grpc() -> None:
    heavy = ("torch", "grpc", "google.protobuf", "rich", "PIL", "numpy", "xcomp_cli.commands")
    code = (
        "import sys; from xcomp_cli.main import run; run(['--help']);"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_search_imports_neither_images_nor_markdown(indexer: FakeIndexer) -> None:
    code = (
        "import sys; from xcomp_cli.main import run; run(['search', 'x']);"
        "print([name for name in ('torch', 'rich', 'PIL', 'numpy', 'markdown_it') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("sink", "says"), [("pipe", ""), ("/dev/full", "error: No space left on device\n")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_result_without_a_reader_is_no_traceback(sink: str, says: str, unbuffered: str) -> None:
    if sink == "pipe":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open(sink, os.O_WRONLY)
    command = [str(Path(sys.executable).with_name("xcomp")), "--version"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, says)


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: xcomp" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["index"],
        ["search", "x", "--lang", "fr"],
        ["search", "x", "--bogus"],
        ["repo"],
        ["index", "/no/such"],
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_a_word_that_is_no_choice_is_told_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "x", "--lang", "fr"]) == 2
    fact = "error: invalid value for '--lang': 'fr' is not one of 'auto', 'en', 'zh', 'all'"
    assert capsys.readouterr().err == f"{fact} (see xcomp search --help)\n"


def test_unreachable_server_is_status_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "x", "--indexer", "127.0.0.1:1"]) == 4
    assert capsys.readouterr().err == "error: the indexer at 127.0.0.1:1 does not answer: is it running there?\n"


def test_debug_shows_the_traceback_wherever_it_stands() -> None:
    with pytest.raises(InvalidRequest):
        run(["index", "/no/such", "--debug"])
    with pytest.raises(InvalidRequest):
        run(["--debug", "index", "/no/such"])


def test_debug_behind_the_dashes_is_a_word(indexer: FakeIndexer) -> None:
    assert run(["search", "--", "--debug"]) == 0
    request = indexer.requests[0]
    assert isinstance(request, pb.SearchRequest)
    assert request.queries[0].parts[0].text == "--debug"


def test_maintenance_commands_print_their_result(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["repo", "optimize", "trips"]) == 0
    assert capsys.readouterr() == ("trips: optimized in 2.2 s\n", "")
    assert run(["repo", "optimize", "trips", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"repository": "trips", "seconds": 2.25}
    assert run(["repo", "snapshot", "trips"]) == 0
    assert capsys.readouterr() == ("2024-01-31: 2.0 MB\n", "")
    asked = len(indexer.requests)
    assert run(["repo", "snapshot", "trips", "--list", "--json"]) == 0
    kept = {"name": "2024-01-31", "created": "2024-01-31T00:00:00Z", "size_bytes": 2_000_000}
    assert json.loads(capsys.readouterr().out) == [kept]
    assert len(indexer.requests) == asked  # --list takes none


def test_repository_commands_speak_json(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["repo", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["profile"], one["images"]) for one in listed] == [("trips", "lite", 3)]
    assert run(["repo", "show", "trips", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == listed[0]
    assert run(["repo", "create", "new", "--profile", "lite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "new"
    assert run(["repo", "delete", "trips", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"repository": "trips", "deleted": 3}


def test_unknown_repository_fails(indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["repo", "show", "nowhere"]) == 1
    assert "no repository 'nowhere'" in capsys.readouterr().err


def test_status_shows_the_indexer_and_its_repositories(
    indexer: FakeIndexer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status"]) == 0
    said = "repository trips: 3 images, profile lite, 2.0 MB, 5 failed (3 truncated, 2 empty)"
    assert said in capsys.readouterr().out
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["repositories"][0]["name"] == "trips"


def test_models_say_their_limits_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"lite", "retrieval"} <= {model["name"] for model in listed}
    assert all(model[key] for model in listed for key in ("role", "what", "cannot", "licence", "profile"))
    assert run(["models", "list"]) == 0
    said = capsys.readouterr().out
    assert said.count("  cannot ") == said.count("  licence ") == len(listed)


def test_printable_escapes_control_characters() -> None:
    assert console.printable("a\x1b[2J\x07\n\x9b\u202eb\udcff") == "a\\x1b[2J\\x07\\n\\x9b\\u202eb\\udcff"
    assert console.printable("港口 – café") == "港口 – café"


def test_no_color_sets_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console.strong("x") != "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert (console.strong("x"), console.faint("x")) == ("x", "x")


def test_a_dumb_terminal_gets_no_escape_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert (console.strong("x"), console.faint("x")) == ("x", "x")
    code = (
        "from xcomp_cli.output import console, progress\n"
        "with progress.show_bar('images') as advance, progress.show_wait('work'): advance(1, 2, what='indexing')\n"
        "console.warn('done')"
    )
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True)
    os.close(theirs)
    assert os.read(ours, 65536) == b"warning: done\r\n"
    os.close(ours)


def test_an_invalid_hub_address_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://[bad")
    assert run(["models", "list"]) == 2
    said = capsys.readouterr().err
    assert "HF_ENDPOINT 'http://[bad' is no address" in said
    assert len(said.splitlines()) == 1


def test_interrupt_while_the_commands_are_imported_is_one_line() -> None:
    code = (
        "import sys\nfrom xcomp_cli.__main__ import main\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_hub_retries_print_nothing() -> None:
    code = (
        "import sys\nfrom xcomp_cli.main import main\nsys.argv = ['xcomp', '--version']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "from huggingface_hub.utils import logging\nprint(logging.get_verbosity() == logging.ERROR)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_VERBOSITY"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert said.stdout.endswith("\nTrue\n")


def test_long_line_is_cut_to_its_columns() -> None:
    assert console.fit("abcdefghij", 10) == "abcdefghij"
    assert console.fit("abcdefghijk", 10) == "abcdefghi…"
    assert console.fit("港口的早晨", 10) == "港口的早晨"
    assert console.fit("港口的早晨啊", 10) == "港口的早…"


def test_a_path_stays_absolute_when_the_current_folder_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert console.relative_path(f"{tmp_path}/a.jpg") == "a.jpg"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert console.relative_path(f"{tmp_path}/a.jpg") == f"{tmp_path}/a.jpg"
    monkeypatch.chdir(tmp_path)


def test_json_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"path": "a\x1b\x9b\u202e\x7f"})
    said = capsys.readouterr().out
    assert not set(said) & {"\x1b", "\x9b", "\u202e", "\x7f"}
    assert json.loads(said) == {"path": "a\x1b\x9b\u202e\x7f"}


def test_progress_is_drawn_on_a_terminal_only(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.show_bar("images") as advance:
        advance(1, 2, what="indexing")
    assert capfd.readouterr().err == ""
    code = (
        "from xcomp_cli.output import progress\n"
        "with progress.show_bar('images') as advance: advance(1, 2, what='indexing [bold]')"
    )
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    assert b"indexing [bold]" in os.read(ours, 65536)
    os.close(ours)


def test_token_appends_a_secret_line_that_a_server_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    assert run(["token", str(file)]) == 0
    assert run(["token", str(file), "--role", "read", "--repo", "press", "--repo", "trips"]) == 0
    grants = auth.read_tokens(str(file), option="--token-file").grants
    assert [(grant.role, grant.repositories) for grant in grants] == [
        ("admin", frozenset()), ("read", frozenset(("press", "trips")))
    ]  # fmt: skip
    assert len({grant.token for grant in grants}) == 2
    assert file.stat().st_mode & 0o077 == 0
    said = "".join(capsys.readouterr())
    assert not any(grant.token in said for grant in grants)


def test_token_ends_a_last_line_without_a_newline(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    assert run(["token", str(file), "--role", "read"]) == 0
    file.write_text(file.read_text().rstrip("\n"))
    assert run(["token", str(file)]) == 0
    assert [grant.role for grant in auth.read_tokens(str(file), option="x").grants] == ["read", "admin"]


@pytest.mark.parametrize("name", ["", ",", "a,b", "a b", "a\n"])
def test_token_refuses_a_scope_that_would_open_something_else(name: str, tmp_path: Path) -> None:
    assert run(["token", str(tmp_path / "tokens"), "--role", "read", "--repo", name]) == 2
    assert not (tmp_path / "tokens").exists()


def test_token_refuses_a_file_that_other_users_may_open(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.touch()
    file.chmod(0o666)
    assert run(["token", str(file)]) == 2
    assert not file.read_text()


def test_token_keeps_a_file_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    assert run(["token", str(file), "--keep"]) == 0
    before = file.read_text()
    assert run(["token", str(file), "--keep"]) == 0
    assert file.read_text() == before
