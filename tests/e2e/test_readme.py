"""What the READMEs tell a newcomer to type, typed: same commands in both languages, on real photographs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.system import stop

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh-CN.md")
_TESTED = re.compile(r"<!-- tested -->\n```sh\n(.*?)```", re.DOTALL)
_FILE = re.compile(r"\]\(([^)#:]+)\)")
PHOTOS = ("coffee", "chelsea", "motorcycle", "rocket", "flowers1", "church")  # words in the names of the files


def commands(readme: str) -> list[str]:
    return _TESTED.findall((ROOT / readme).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README assumes it: some photos and a post."""
    folder = tmp_path_factory.mktemp("newcomer")
    collected = folder / "collected"
    subprocess.run([sys.executable, ROOT / "demo" / "collect.py", collected], check=True, capture_output=True)
    (folder / "photos").mkdir()
    for file in sorted(collected.rglob("*")):
        if any(word in file.name.lower() for word in PHOTOS):
            shutil.copy2(file, folder / "photos" / file.name)
    shutil.copy(ROOT / "demo" / "articles" / "two-days-without-a-plan.en.md", folder / "post.md")
    return folder


def test_tested_commands_of_the_readme_work(workplace: Path, tmp_path: Path) -> None:
    """Those of the other language are the same, as the next test says."""
    script = "\n".join(["set -eu", *commands("README.md")])
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XCOMP_")}
    home = str(tmp_path / "home")
    environment = {**kept, "XCOMP_HOME": home, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=workplace,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    finally:
        stop(environment)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (workplace / "post.illustrated" / "article.html").read_text(encoding="utf-8")
    assert "<img" in page
    assert (workplace / "post.illustrated" / "review.html").exists()


def test_readmes_show_the_same_commands() -> None:
    english, chinese = (commands(readme) for readme in READMES)
    assert len(english) >= 2
    assert english == chinese


@pytest.mark.parametrize("readme", READMES)
def test_readme_is_short_and_its_links_lead_somewhere(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    missing = [target for target in _FILE.findall(text) if not (ROOT / target).exists()]
    assert not missing


def test_make_targets_of_the_readme_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = {word for readme in READMES for word in re.findall(r"make ([a-z]+)", (ROOT / readme).read_text("utf-8"))}
    assert named
    assert named <= set(targets)
