"""Composer models as a user runs them: two services and the command line, each a process; the weights are made up."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests import openai_server
from tests.checkpoints import write_checkpoint
from tests.openai_server import composing

XCOMP = [sys.executable, "-c", "from xcomp_cli.main import main; main()"]
COLORS = ("red", "green", "blue", "yellow", "black", "white")
ARTICLE = """# Colours

The first house was painted red, and so was its door.

The second one was green, like the meadow behind it.

The sea beyond them was blue.
"""


class Desk:
    """Running services, a folder to work in, and the commands typed there."""

    def __init__(self, folder: Path, indexer: str, composer: str) -> None:
        self.folder = folder
        self.environment = {**_clean(), "XCOMP_INDEXER": indexer, "XCOMP_COMPOSER": composer}
        (folder / "post.md").write_text(ARTICLE, encoding="utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            [*XCOMP, *arguments], capture_output=True, text=True, env=self.environment, cwd=self.folder, timeout=120
        )

    def json(self, *arguments: str) -> dict[str, object]:
        """Runs a command that works; returns what it prints."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        value = json.loads(done.stdout)
        assert isinstance(value, dict)
        return value


def _clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("XCOMP_", "OPENAI_"))}


@contextmanager
def server(module: str, *options: str, **environment: str) -> Iterator[str]:
    """Runs a server as a process; yields its address."""
    command = [sys.executable, "-m", module, "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**_clean(), **environment}) as process:
        try:
            assert process.stderr
            heard = re.search("listening on (.*)", process.stderr.readline())
            assert heard
            yield heard[1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    for color in COLORS:
        Image.new("RGB", (40, 30), color).save(folder / f"{color}.png")
    for version in (1, 2):
        write_checkpoint(version, folder / f"tiny{version}")
    with ExitStack() as stack:
        url, _ = stack.enter_context(openai_server.serving(composing()))
        indexer = stack.enter_context(server(
            "xcomp_indexer.server.main", "--profile", "color",
            "--home", str(folder / "home"), "--allow-root", str(folder),
        ))  # fmt: skip
        composer = stack.enter_context(server(
            "xcomp_composer.server.main", "--indexer", indexer, "--allow-model", "*",
            "--device", "cpu", "--precision", "fp32", OPENAI_BASE_URL=url,
        ))  # fmt: skip
        made = Desk(folder, indexer, composer)
        assert made.run("index", f"server:{folder}").returncode == 0
        yield made


def pictures(article: dict[str, object]) -> list[dict[str, object]]:
    segments = article["segments"]
    assert isinstance(segments, list)
    return [segment["illustration"] for segment in segments if segment["illustration"]]


def segments_of(article: dict[str, object]) -> list[dict[str, dict[str, object]]]:
    segments = article["segments"]
    assert isinstance(segments, list)
    return segments


def unfilled_of(article: dict[str, object]) -> list[object]:
    unfilled = article["unfilled"]
    assert isinstance(unfilled, list)
    return unfilled


@pytest.mark.parametrize("version", [1, 2])
def test_a_folder_in_the_released_format_illustrates_selects_chats_and_composes(desk: Desk, version: int) -> None:
    model = f"./tiny{version}"
    article = desk.json("illustrate", "post.md", "--model", model, "--images", "1", "--out", f"out{version}")
    (picture,) = pictures(article)
    assert picture["chosen_by"] == article["model"] == str(desk.folder / f"tiny{version}")
    candidates = picture["candidates"]
    assert isinstance(candidates, list)
    assert len(candidates) == 4
    assert sum(candidate["probability"] for candidate in candidates) == pytest.approx(1, abs=0.01)
    assert (desk.folder / f"out{version}" / "article.html").is_file()

    names = [f"--candidate={color}.png" for color in COLORS[:3]]
    chosen = desk.json("select", "--context", "post.md", *names, "--model", model)
    probabilities = chosen["probabilities"]
    assert isinstance(probabilities, list)
    assert chosen["choice"] == max(range(3), key=probabilities.__getitem__)
    assert 0.5 < float(str(chosen["mass"])) <= 1

    answer = desk.json("chat", "What is this?", "--image", "red.png", "--model", model)
    assert "cat" in str(answer["answer"])

    written = desk.json("compose", "A house", "--model", model, "--out", f"written{version}")
    assert written["model"] == article["model"]
    assert "cat" in (desk.folder / f"written{version}" / "article.md").read_text(encoding="utf-8")


def test_an_endpoint_composes_illustrates_selects_and_chats(desk: Desk) -> None:
    article = desk.json("illustrate", "post.md", "--model", "openai:m", "--images", "1", "--out", "out-openai")
    (picture,) = pictures(article)
    assert (picture["chosen_by"], picture["probability"]) == ("openai:m", pytest.approx(0.778, abs=0.01))
    assert picture["caption"] == "Words of a model."
    chosen = desk.json("select", "--context=post.md", "--candidate=red.png", "green.png", "--model", "openai:m")
    assert chosen["choice"] == 1
    assert desk.run("chat", "hello", "--model", "openai:m").stdout == "Words of a model.\n"
    written = desk.json("compose", "A house", "--model", "openai:m", "--out", "written-openai")
    assert written["model"] == "openai:m"


def test_a_page_is_illustrated_edited_and_filled(desk: Desk) -> None:
    page = "<!doctype html>\n<h1>Colours</h1>\n<p>The first house was painted red.</p>\n<p>The sea was blue.</p>\n"
    (desk.folder / "page.html").write_text(page, encoding="utf-8")
    listed = desk.json("search", "blue", "-k", "1")["hits"]
    assert isinstance(listed, list)
    blue = listed[0]["id"]
    article = desk.json("illustrate", "page.html", "--must-use", blue, "--images", "1", "--model", "retrieval")
    assert article["format"] == "html"
    ((number, picture),) = [(n, s["illustration"]) for n, s in enumerate(segments_of(article)) if s["illustration"]]
    assert (picture["image_id"], picture["chosen_by"]) == (blue, "user")
    out = desk.folder / "page.illustrated"
    assert not (out / "article.md").exists()
    assert page.splitlines()[1] in (out / "article.html").read_text(encoding="utf-8")

    spot = ("edit", "page.illustrated", "--spot", str(number))
    captioned = desk.json(*spot, "--caption", "My <own> words", "--alt", "seen")
    assert pictures(captioned)[0]["caption"] == "My <own> words"
    assert "My &lt;own&gt; words" in (out / "article.html").read_text(encoding="utf-8")
    assert desk.json(*spot, "--exclude")["exclude_ids"] == [blue]
    filled = desk.json("edit", "page.illustrated", "--fill", "--allow-restricted")
    assert len(pictures(filled)) + len(unfilled_of(filled)) == 1
    assert all(each["image_id"] != blue for each in pictures(filled))
    for _ in range(3):
        undone = desk.json("edit", "page.illustrated", "--undo")
    assert (pictures(undone), undone["exclude_ids"]) == (pictures(article), [])
    assert desk.run("edit", "page.illustrated", "--fill").returncode == 2  # nothing is empty


def test_the_echo_writes_and_rewords_and_retrieval_illustrates(desk: Desk) -> None:
    article = desk.json("compose", "The house was painted red.", "--model", "echo", "--out", "echoed")
    assert article["model"] == "echo"
    changed = desk.json("edit", "echoed", "--segment", "0", "--shorten", "--model", "echo")
    segments = changed["segments"]
    assert isinstance(segments, list)
    assert segments[0]["text"].startswith("shorten: The house was painted red.")
    assert desk.run("chat", "two\nlines\x1b[2J", "--model", "echo").stdout == "two\nlines\\x1b[2J\n"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("chat", "hello"), 1, "retrieval cannot chat"),
        (("chat", " "), 2, "the question is empty"),
        (("chat", "hello", "--image", "nowhere.png"), 2, "no such file"),
        (("chat", "hello", "--model", "gpt"), 2, "unknown composer model"),
        (("chat", "hello", "--model", "./home"), 1, "home"),
        (("illustrate", "post.md", "--model", "./nowhere"), 1, "is not a folder"),
    ],
)
def test_what_cannot_be_done_is_one_line(desk: Desk, arguments: tuple[str, ...], status: int, words: str) -> None:
    done = desk.run(*arguments)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_plan_counts_memory_before_anything_is_loaded(desk: Desk) -> None:
    plan = desk.json("models", "plan", "tiny2", "--device", "cpu")
    assert plan["headroom"] == int(str(plan["free"])) - int(str(plan["needed"]))


def test_an_endpoint_that_is_away_is_one_line_and_status_4(desk: Desk) -> None:
    indexer = desk.environment["XCOMP_INDEXER"]
    with server(
        "xcomp_composer.server.main",
        "--indexer",
        indexer,
        "--allow-model",
        "*",
        OPENAI_BASE_URL="http://127.0.0.1:1/v1",
    ) as composer:
        done = desk.run("illustrate", "post.md", "--model", "openai:m", "--composer", composer, "--indexer", indexer)
    assert done.returncode == 4
    assert "http://127.0.0.1:1/v1 does not answer" in done.stderr
    assert done.stderr.count("\n") == 1
