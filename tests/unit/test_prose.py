"""The language of code and docs: plain technical English, one word for one thing, functions named by verbs."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("protos", "indexer", "model", "composer", "cli", "demo", "tests")
DOCS = ("docs/*.md", "README.md", "CONTRIBUTING.md", "SECURITY.md", "protos/*.proto")

# The dialect that this project once had, each with what stands in its place.
DIALECT = {
    r"who(m)?ever": "say who: the caller, the thread, the reader",
    r"nobody": "no caller, no one, or the condition itself",
    r"anew": "again",
    r"aught|heed(ed|s)?|thereof|whereof|hereof": "an everyday word",
    r"came of (it|them)": "the result",
    r"(?<!there )(is|are|was|were) (?-i:none)\b(?! of)": "there is no …, or is not a …",
    r"the one idea": "say the idea",
    r"knows no\b(?! \w+ (that|which) )": "does not depend on",
    r"seams?": "interface",
    r"as it were": "leave it out",
    r"lies there|lie there": "is stored there",
    r"its last words?": "its output",
    r"has the say": "decides",
}
# Other uses of the word: an HTML element, a message and a field of the protos, a folder of a user.
PICTURES = (
    r"</?picture|<picture|\[picture\]|ShownPicture|\.picture\b|SelectCandidate picture|~/Pictures|--(no-)?pictures"
    r"|\[default: pictures\]"
    r"|[\"']pictures?[\"']|picture\|"  # names of an HTML element, a key of a file on disk, a regular expression
)
PARTICIPLE = re.compile(r"(?<!be)ed$")
# A verb in front makes of the participle what it acts on: find_enclosed, check_unfilled.
VERBS = re.compile(r"^_*(check|count|demote|explain|find|get|never|refuse|require|select|until)_")
NO_PARTICIPLE = re.compile(r"^_*(is|has|are|was|can|test)_|_?([Ee]mbed|need|feed|speed|seed|shared|shed|bleed|indeed)$")


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if "_pb2" not in path.name)


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines of a page, or what a Python file says, each with its line number.

    Of a test that is its comments and docstrings, since other strings are the data of the tests.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), start=1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_string = token.type in (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1))
        is_data = "tests" in path.parts and not token.string.startswith('"""')
        if token.type == tokenize.COMMENT or (is_string and not is_data):
            yield token.start[0], token.string


def pages() -> Iterator[Path]:
    for pattern in DOCS:
        yield from sorted(ROOT.glob(pattern))


@cache
def all_prose() -> tuple[tuple[str, str], ...]:
    files = [path for path in (*python_files(*FOLDERS), *pages()) if path != Path(__file__)]
    return tuple((f"{path.relative_to(ROOT)}:{line}", text) for path in files for line, text in prose_of(path))


@pytest.mark.parametrize("words", DIALECT)
def test_the_old_dialect_does_not_come_back(words: str) -> None:
    pattern = re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    spoken = [f"{place}: {found[0]}" for place, text in all_prose() if (found := pattern.search(text))]
    assert spoken == [], DIALECT[words]


def test_an_image_is_never_called_a_picture() -> None:
    pattern = re.compile(r"pictures?\b", re.IGNORECASE)
    spoken = [place for place, text in all_prose() if pattern.search(re.sub(PICTURES, "", text))]
    assert spoken == []


def test_functions_are_named_by_verbs() -> None:
    adjectives = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python_files("protos", "indexer", "model", "composer", "cli")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and PARTICIPLE.search(node.name) and not NO_PARTICIPLE.search(node.name)
        if not VERBS.search(node.name)
    ]
    assert adjectives == []


def test_a_class_name_is_used_once() -> None:
    names = Counter(
        node.name
        for path in python_files("protos", "indexer", "model", "composer", "cli")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert {name: count for name, count in names.items() if count > 1} == {}
