"""Shows xcomp at work on a few dozen photographs, offline and without a GPU: `python demo/run.py`, or `make demo`.

It runs the commands that a user would type and prints each before it runs. All of it stays below demo/out, the library
and the local servers' state included, so that the user's own library is not touched. A second run finds everything
in place and is quick.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = Path("demo/out")  # relative to ROOT, as the printed commands are
HOME = OUT / "home"
PHOTOS = OUT / "photos"
REPO = ("--repo", "demo")
PROFILE = ("--profile", "lite")
ARTICLES = ("two-days-without-a-plan.en.md", "after-the-rain.zh.md")


def bundle(article: str) -> Path:
    """Returns the folder of the illustrated article."""
    return OUT / article.split(".")[0]


def steps() -> list[tuple[str, list[str]]]:
    """Returns the steps of the demonstration: a heading and a command each."""
    return [
        ("Copy the photographs out of the packages that install them:", ["python", "demo/collect.py", str(PHOTOS)]),
        (
            "Index them (the first time, the models have to be loaded):",
            ["xcomp", "index", str(PHOTOS), *REPO, *PROFILE],
        ),
        ("Search in English:", ["xcomp", "search", "something warm to drink", "-k", "3", *REPO]),
        ("Search in Chinese:", ["xcomp", "search", "黄色的花", "-k", "3", *REPO]),
        *(("Illustrate an article:", illustrate(article)) for article in ARTICLES),
    ]


def illustrate(article: str) -> list[str]:
    """Returns the command that illustrates one of the sample articles."""
    return ["xcomp", "illustrate", f"demo/articles/{article}", "--out", str(bundle(article)), *REPO, *PROFILE]


def run(command: list[str]) -> int:
    """Prints a command, runs it with this Python's own `xcomp`, and returns its exit status."""
    print(f"  $ {shlex.join(command)}", flush=True)
    python = Path(sys.executable)
    program = python if command[0] == "python" else python.with_name(command[0])
    return subprocess.run([program, *command[1:]], cwd=ROOT, env=environment(), check=False).returncode


def environment() -> dict[str, str]:
    """Returns the environment without settings that would select another library, server or profile."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XCOMP_") or key == "XCOMP_LITE_DIR"}
    return kept | {"XCOMP_HOME": str(ROOT / HOME)}


def closing_text() -> str:
    """Returns the last words: where the pages are, and what to try next."""
    pages = "\n".join(f"  {(ROOT / bundle(article) / 'article.html').as_uri()}" for article in ARTICLES)
    return f"""
Done. Open the pages in a browser:
{pages}
Next to each is review.html: every spot in the text, the other candidates, and why.

Try next, in this folder:
  export PATH="{Path(sys.executable).parent}:$PATH"
  XCOMP_HOME="$PWD/{HOME}" xcomp search "your own words" {" ".join(REPO)}
  xcomp index ~/Images {" ".join(PROFILE)}
  xcomp illustrate your-post.md
To start over: rm -r {OUT}"""


def main() -> int:
    """Runs the steps in order and stops at the first that fails; returns the exit status."""
    if not Path(sys.executable).with_name("xcomp").exists():
        print("error: xcomp is not installed beside this Python; run `make setup` first", file=sys.stderr)
        return 1
    print(f"The demonstration keeps everything below {OUT}; your own library is not touched.")
    for heading, command in steps():
        print(f"\n{heading}")
        if status := run(command):
            print(f"error: stopped, because the command above ended with status {status}", file=sys.stderr)
            return status
    print(closing_text())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
