"""The table of model families: what is known of a model by its name, and how a family is added."""

import subprocess
import sys
from pathlib import Path

import pytest

from xcomp_model import capabilities_of, families, load
from xcomp_model.base import Brief, Capabilities, ModelFailure, Runtime, UnknownModel

_TOY = """
from xcomp_model.echo import EchoModel

class Toy(EchoModel):
    def __init__(self, name):
        super().__init__()
        self.name = name

def open_model(name, runtime):
    return Toy(name)
"""
CAN = Capabilities(sees=True, languages=frozenset({"en"}), logprobs=False, writes_markdown=False)


def add(monkeypatch: pytest.MonkeyPatch, family: families.ModelFamily) -> None:
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, family))


def test_a_family_is_a_module_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_model.py").write_text(_TOY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    add(monkeypatch, families.ModelFamily(("toy:",), "toy_model", CAN))
    assert capabilities_of("toy:7") == CAN
    model = load("toy:7")
    assert model.name == "toy:7"
    prompts = model.prompts
    assert "".join(model.stream(prompts.write(Brief("a story")), prompts.sampling("write"))) == "a story"


def test_a_missing_library_is_named_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    add(monkeypatch, families.ModelFamily(("toy:",), "toy", CAN, ("json", "no_such_toylib"), install="get it"))
    with pytest.raises(ModelFailure, match=r"^toy:7 needs no_such_toylib, which is not installed: get it$"):
        load("toy:7")


@pytest.mark.parametrize(
    ("name", "sees", "writes_markdown"),
    [
        ("echo", False, True),
        ("openai:gpt", True, True),
        ("openai-text:gpt", False, True),
        ("draft", False, True),
        ("internlm/internlm-xcomposer2-7b", True, False),
        ("internlm-xcomposer-7b@main", True, False),
        ("./folder", True, False),
    ],
)
def test_a_name_tells_what_its_model_can_do(name: str, sees: bool, writes_markdown: bool) -> None:
    can = capabilities_of(name)
    assert (can.sees, can.writes_markdown) == (sees, writes_markdown)


def test_a_name_of_no_family_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="unknown composer model 'gpt'"):
        capabilities_of("gpt")
    with pytest.raises(UnknownModel):
        capabilities_of("x" * 100_000)
    assert capabilities_of(str(tmp_path)).sees


@pytest.mark.parametrize("name", ["echo", "openai:any", "openai-text:any"])
def test_a_loaded_model_can_do_what_its_name_tells(name: str) -> None:
    assert load(name, Runtime(base_url="http://127.0.0.1:1/v1")).capabilities == capabilities_of(name)


def test_asking_by_name_imports_no_library_of_a_model() -> None:
    script = (
        "import sys, xcomp_model; [xcomp_model.capabilities_of(n) for n in ('draft', 'openai:m', '/folder')]; "
        "print([each for each in ('torch', 'transformers', 'openai', 'xllamacpp') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
