"""The command line as a user runs it: processes, real local servers, real files. The models are weightless colours."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests import fake_hub

XCOMP = [sys.executable, "-c", "from xcomp_cli.main import main; main()"]
COLORS = ("red", "green", "blue", "grey", "black", "white")


class Machine:
    """A user's machine: a home of its own, a folder of photos, and the commands typed there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.photos = folder / "photos"
        self.photos.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("XCOMP_", "XDG_"))},
            "XCOMP_HOME": str(self.home),
            "XCOMP_PROFILE": "color",
        }

    def paint(self, count: int) -> None:
        """Saves images of one colour each, no two alike."""
        for number in range(count):
            color = COLORS[number % len(COLORS)]
            size = (40 + number // len(COLORS), 30)
            Image.new("RGB", size, color).save(self.photos / f"{color}-{number}.png")

    def run(self, *arguments: str | bytes | Path) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            [*XCOMP, *arguments], capture_output=True, text=True, env=self.environment, cwd=self.folder, timeout=120
        )

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Starts a command in a process group of its own, as a shell does."""
        return subprocess.Popen(
            [*XCOMP, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
            start_new_session=True,
        )

    def server(self, name: str = "indexer") -> int:
        """The process number of a local server, living or dead."""
        return int(json.loads((self.home / "run" / f"{name}.json").read_text())["pid"])

    def kill_servers(self) -> None:
        """Leaves nothing behind."""
        for state in (self.home / "run").glob("*.json"):
            pid = int(json.loads(state.read_text())["pid"])
            if _lives(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="xcomp-") as folder:  # pytest's own folders are too long for a socket
        made = Machine(Path(folder))
        yield made
        made.kill_servers()


@pytest.fixture(scope="module")
def indexed() -> Iterator[Machine]:
    """A machine that is only looked at: twelve images, indexed."""
    with tempfile.TemporaryDirectory(prefix="xcomp-") as folder:
        made = Machine(Path(folder))
        made.paint(12)
        made.run("index", made.photos)
        yield made
        made.kill_servers()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _error(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error."""
    assert done.stdout == ""
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_search_finds_images_in_two_languages(indexed: Machine) -> None:
    for query, language in (("something red", "en"), ("红色的东西", "zh")):
        found = json.loads(indexed.run("search", query, "-k", "2", "--json").stdout)
        assert found["language"] == language
        assert all("/red-" in hit["path"] for hit in found["hits"])
        assert [hit["rank"] for hit in found["hits"]] == [1, 2]


def test_second_index_changes_nothing_and_sees_what_changed_after(machine: Machine) -> None:
    machine.paint(6)
    first = json.loads(machine.run("index", machine.photos, "--json").stdout)
    assert (first["added"], first["unchanged"]) == (6, 0)
    again = json.loads(machine.run("index", machine.photos, "--json").stdout)
    assert (again["added"], again["unchanged"]) == (0, 6)
    (machine.photos / "red-0.png").rename(machine.photos / "sunset.png")
    (machine.photos / "blue-2.png").unlink()
    third = json.loads(machine.run("index", machine.photos, "--json").stdout)
    assert (third["renamed"], third["removed"], third["unchanged"]) == (1, 1, 4)


def test_concurrent_commands_share_one_server(machine: Machine) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: machine.run("status", "--json"), range(4)))
    assert [each.returncode for each in done] == [0] * 4, [each.stderr for each in done]
    servers = {json.loads(each.stdout)["servers"]["indexer"]["pid"] for each in done}
    assert len(servers) == 1


def test_killed_server_is_started_again_and_nothing_is_lost(machine: Machine) -> None:
    machine.paint(6)
    machine.run("index", machine.photos)
    first = machine.server()
    os.kill(first, signal.SIGKILL)
    found = machine.run("search", "red", "-k", "1", "--json")
    assert found.returncode == 0, found.stderr
    assert "/red-0.png" in json.loads(found.stdout)["hits"][0]["path"]
    assert machine.server() != first


def test_server_of_another_build_is_replaced(machine: Machine) -> None:
    machine.run("status")
    first = machine.server()
    state = machine.home / "run" / "indexer.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "build": "of yesterday"}))
    assert machine.run("status").returncode == 0
    assert machine.server() != first
    assert not _lives(first)


def test_server_leaves_when_idle(machine: Machine) -> None:
    machine.environment["XCOMP_IDLE_TIMEOUT"] = "1"
    assert machine.run("status").returncode == 0
    pid = machine.server()
    _wait_until(lambda: not _lives(pid))
    assert machine.run("status").returncode == 0


def test_local_server_is_private(indexed: Machine) -> None:
    run = indexed.home / "run"
    assert run.stat().st_mode & 0o777 == 0o700
    assert len(list(run.glob("indexer-*.sock"))) == 1
    assert (indexed.home / "logs" / "indexer.log").read_text().startswith("listening on unix:")


def test_interrupted_index_is_completed_by_the_next(machine: Machine) -> None:
    machine.paint(400)
    machine.run("status")  # so that the interrupt meets the work, not the start
    started = machine.start("index", machine.photos)
    _wait_until((machine.home / "repositories" / "default").exists)
    os.killpg(started.pid, signal.SIGINT)
    _, said = started.communicate(timeout=60)
    server = machine.server()
    if started.returncode != 0:  # else the machine was faster than the interrupt
        assert started.returncode == 130
        assert said.splitlines()[-1] == "interrupted"
    assert _lives(server)
    done = json.loads(machine.run("index", machine.photos, "--json").stdout)
    assert done["added"] + done["unchanged"] == 400
    assert done["failed"] == []
    assert machine.server() == server


def test_interrupt_of_the_first_command_does_not_hurt_the_next(machine: Machine) -> None:
    started = machine.start("status")
    _wait_until((machine.home / "run" / "indexer.starting").exists)
    os.killpg(started.pid, signal.SIGINT)
    started.communicate(timeout=60)
    assert machine.run("status").returncode == 0


def test_folders_without_images_are_done_and_say_so(machine: Machine) -> None:
    (machine.folder / "texts").mkdir()
    (machine.folder / "texts" / "note.txt").write_text("no image")
    for folder in ("photos", "texts"):
        done = machine.run("index", machine.folder / folder)
        assert done.returncode == 0
        assert "no images were found" in done.stderr


def test_single_image_is_indexed(machine: Machine) -> None:
    machine.paint(2)
    done = machine.run("index", "photos/red-0.png", "--json")  # relative to where the user is
    assert done.returncode == 0
    assert json.loads(done.stdout)["added"] == 1


def test_single_file_that_is_no_image_fails(machine: Machine) -> None:
    (machine.folder / "text.jpg").write_text("no image")
    done = machine.run("index", machine.folder / "text.jpg")
    assert done.returncode == 1
    assert "text.jpg" in done.stderr


def test_bad_files_are_named_and_the_rest_is_indexed(machine: Machine) -> None:
    machine.paint(3)
    (machine.photos / "text.jpg").write_text("no image")
    (machine.photos / "empty.jpg").touch()
    whole = machine.folder / "noise.jpg"
    Image.effect_noise((200, 200), 80).save(whole)
    (machine.photos / "cut.jpg").write_bytes(whole.read_bytes()[:2000])
    Image.new("1", (17000, 17000)).save(machine.photos / "bomb.png")
    (Path(os.fsdecode(os.fsencode(machine.photos) + b"/caf\xe9.png"))).write_bytes(
        (machine.photos / "red-0.png").read_bytes()
    )
    done = machine.run("index", machine.photos, "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["added"] == 4
    reasons = {Path(failure["path"]).name: failure["reason"] for failure in value["failed"]}
    assert reasons == {
        "text.jpg": "not_an_image", "empty.jpg": "empty", "cut.jpg": "truncated", "bomb.png": "too_large",
    }  # fmt: skip
    assert machine.run("index", machine.photos, "--strict").returncode == 3


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every file")
def test_unreadable_file_is_named(machine: Machine) -> None:
    machine.paint(2)
    (machine.photos / "red-0.png").chmod(0)
    value = json.loads(machine.run("index", machine.photos, "--json").stdout)
    assert [failure["reason"] for failure in value["failed"]] == ["permission"]


def test_suspicious_prune_is_refused_until_it_is_asked_for(machine: Machine) -> None:
    machine.paint(60)
    machine.run("index", machine.photos)
    for path in sorted(machine.photos.iterdir())[:40]:
        path.unlink()
    refused = machine.run("index", machine.photos)
    assert refused.returncode == 3
    assert "--prune" in refused.stderr
    allowed = machine.run("index", machine.photos, "--prune", "--json")
    assert allowed.returncode == 0
    assert json.loads(allowed.stdout)["removed"] == 40


def test_dry_run_changes_nothing(machine: Machine) -> None:
    machine.paint(3)
    machine.run("repo", "create", "default")
    assert json.loads(machine.run("index", machine.photos, "--dry-run", "--json").stdout)["added"] == 3
    assert json.loads(machine.run("repo", "show", "default", "--json").stdout)["images"] == 0


def test_wrong_usage_is_status_2(indexed: Machine) -> None:
    for arguments in (
        ("index", "no/such/folder"),
        ("search", ""),
        ("search", "red", "-k", "0"),
        ("search", "red", "--where", "width >"),
        ("index", "photos", "--repo", "new", "--profile", "bogus"),
    ):
        done = indexed.run(*arguments)
        assert done.returncode == 2, arguments
        _error(done)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(indexed: Machine, closed: str) -> None:
    shell = ["sh", "-c", f'"$@" {closed}', "sh"]
    done = subprocess.run(
        [*shell, *XCOMP, "search", "red"], capture_output=True, text=True, env=indexed.environment, cwd=indexed.folder
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (" >&-" not in f" {closed}")


def test_long_query_is_answered(indexed: Machine) -> None:
    assert indexed.run("search", "red " * 2500).returncode == 0


def test_unknown_repository_is_status_1_and_names_the_way_out(indexed: Machine) -> None:
    done = indexed.run("search", "red", "--repo", "nowhere")
    assert done.returncode == 1
    assert "nowhere" in _error(done)


def test_contradicting_profile_is_status_1(indexed: Machine) -> None:
    done = indexed.run("search", "red", "--profile", "lite")
    assert done.returncode == 1
    assert "color" in _error(done)


def test_missing_weights_of_the_default_profile_name_lite_and_ask_no_network(machine: Machine) -> None:
    machine.paint(1)
    del machine.environment["XCOMP_PROFILE"]
    machine.environment.pop("HF_HUB_OFFLINE", None)
    asked: list[str] = []
    with fake_hub.serving({}, asked=asked) as address:
        machine.environment |= {"HF_ENDPOINT": address, "HF_HOME": str(machine.folder / "hub")}
        done = machine.run("index", machine.photos)
    assert done.returncode == 1
    assert "--profile lite" in _error(done)
    assert asked == []


def test_service_that_does_not_answer_is_status_4(indexed: Machine) -> None:
    done = indexed.run("search", "red", "--indexer", "127.0.0.1:9")
    assert done.returncode == 4
    assert "127.0.0.1:9" in _error(done)


def test_server_that_cannot_start_is_status_4_with_its_last_words(machine: Machine) -> None:
    machine.environment["XCOMP_STORE"] = "nonsense"
    done = machine.run("status")
    assert done.returncode == 4
    assert "nonsense" in _error(done)


def test_taken_port_is_status_1(machine: Machine) -> None:
    first = machine.start("serve", "indexer", "--listen", "127.0.0.1:0")
    try:
        assert first.stderr
        address = first.stderr.readline().strip().removeprefix("listening on ")
        done = machine.run("serve", "indexer", "--listen", address, "--home", machine.folder / "other")
        assert done.returncode == 1
        assert address in done.stderr
        assert machine.run("status", "--indexer", address).returncode == 0
    finally:
        os.killpg(first.pid, signal.SIGTERM)
        first.communicate(timeout=60)


def test_page_of_a_search_needs_nothing_beside_it(indexed: Machine) -> None:
    done = indexed.run("search", "red", "-k", "6", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    page = (indexed.folder / "page.html").read_text()
    assert page.count("data:image/") == 6
    assert "://" not in page


ARTICLE = (
    "# Colours\n\nA red door opens slowly in the morning light.\n\n"
    "Blue water lies behind the house, calm and wide.\n\nWhy do we forget what we have seen so soon?\n"
)


def test_article_gets_fitting_images_and_keeps_its_words(indexed: Machine) -> None:
    (indexed.folder / "post.md").write_text(ARTICLE)
    done = indexed.run("illustrate", "post.md", "--json")
    assert done.returncode == 0, done.stderr
    article = json.loads(done.stdout)
    assert "".join(segment["text"] for segment in article["segments"]) == ARTICLE
    shown = {
        number: Path(segment["illustration"]["path"]).name.split("-")[0]
        for number, segment in enumerate(article["segments"])
        if segment["illustration"]
    }
    assert shown == {1: "red", 2: "blue"}
    folder = indexed.folder / "post.illustrated"
    assert len(list((folder / "images").iterdir())) == 2
    marked = (folder / "article.md").read_text()
    assert marked.count("<!-- xcomp:begin") == 2
    again = json.loads(indexed.run("illustrate", folder / "article.md", "--json").stdout)
    assert [segment["text"] for segment in again["segments"]] == [segment["text"] for segment in article["segments"]]
    assert len(list((folder / "images").iterdir())) == 2
    assert (folder / "article.md").read_text() == marked


def test_edit_is_taken_back_by_undo(indexed: Machine) -> None:
    (indexed.folder / "edited.md").write_text(ARTICLE)
    indexed.run("illustrate", "edited.md")
    folder = indexed.folder / "edited.illustrated"
    before = (folder / "article.md").read_text()
    changed = indexed.run("edit", folder, "--spot", "1", "--search", "green", "--json")
    assert changed.returncode == 0, changed.stderr
    illustration = json.loads(changed.stdout)["segments"][1]["illustration"]
    assert "/green-" in illustration["path"]
    assert indexed.run("edit", folder, "--undo").returncode == 0
    assert (folder / "article.md").read_text() == before


def test_killed_composer_is_started_again(indexed: Machine) -> None:
    (indexed.folder / "killed.md").write_text(ARTICLE)
    assert indexed.run("illustrate", "killed.md").returncode == 0
    first = indexed.server("composer")
    os.kill(first, signal.SIGKILL)
    assert indexed.run("illustrate", "killed.md").returncode == 0
    assert indexed.server("composer") != first


def test_composer_follows_an_indexer_that_was_started_again(indexed: Machine) -> None:
    (indexed.folder / "follow.md").write_text(ARTICLE)
    assert indexed.run("illustrate", "follow.md").returncode == 0
    os.kill(indexed.server("indexer"), signal.SIGKILL)
    done = indexed.run("illustrate", "follow.md")
    assert done.returncode == 0, done.stderr


def test_select_gives_a_probability_for_each_candidate(indexed: Machine) -> None:
    (indexed.folder / "context.txt").write_text("The red door opens.")
    candidates = ("--candidate", "photos/green-1.png", "--candidate", "photos/red-0.png")
    done = indexed.run("select", "--context", "context.txt", *candidates, "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert set(value) == {"choice", "probabilities", "mass"}
    assert value["probabilities"][1] > value["probabilities"][0]


def test_articles_that_make_no_sense_are_status_2(indexed: Machine) -> None:
    (indexed.folder / "empty.md").touch()
    for arguments in (("illustrate", "none.md"), ("illustrate", "empty.md"), ("compose", "")):
        assert indexed.run(*arguments).returncode == 2, arguments
    assert indexed.run("compose", "A text.", "--model", "retrieval").returncode == 1
    assert indexed.run("edit", "nowhere", "--undo").returncode == 1


def test_terminal_of_another_alphabet_gets_escapes(indexed: Machine) -> None:
    done = subprocess.run(
        [*XCOMP, "models", "list"],
        capture_output=True,
        text=True,
        env={**indexed.environment, "PYTHONIOENCODING": "iso8859-5"},
    )
    assert done.returncode == 0, done.stderr
    assert "\\xb7" in done.stdout


def test_doctor_finds_a_sound_installation(indexed: Machine) -> None:
    done = indexed.run("doctor", "--json")
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert findings["local indexer"]["ok"]
    assert findings["home"]["ok"]
    assert done.returncode == int(not all(finding["ok"] for finding in findings.values()))


def test_home_that_cannot_be_written_is_one_line(machine: Machine) -> None:
    shutil.rmtree(machine.home, ignore_errors=True)
    machine.home.write_text("a file, no folder")
    done = machine.run("status")
    assert done.returncode == 1
    assert str(machine.home) in _error(done)
    machine.home.unlink()
