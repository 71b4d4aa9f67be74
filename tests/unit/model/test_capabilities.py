"""What a model can do is known by its name, before anything is loaded."""

import subprocess
import sys

import pytest

from xcomp_model import capabilities_of, load
from xcomp_model.base import Runtime, UnknownModel


@pytest.mark.parametrize(
    ("name", "sees", "writes_markdown"),
    [
        ("echo", False, True),
        ("openai:any", True, True),
        ("openai-text:any", False, True),
        ("draft", False, True),
        ("internlm/internlm-xcomposer2-7b", True, False),
        ("/some/folder", True, False),
    ],
)
def test_a_name_tells_whether_a_model_sees_and_writes_markdown(name: str, sees: bool, writes_markdown: bool) -> None:
    capabilities = capabilities_of(name)
    assert (capabilities.sees, capabilities.writes_markdown) == (sees, writes_markdown)


def test_an_unknown_name_has_no_capabilities() -> None:
    with pytest.raises(UnknownModel, match="gpt-4"):
        capabilities_of("gpt-4")


@pytest.mark.parametrize("name", ["echo", "openai:any", "openai-text:any"])
def test_a_loaded_model_can_do_what_its_name_told(name: str) -> None:
    assert load(name, Runtime(base_url="http://127.0.0.1:1/v1")).capabilities == capabilities_of(name)


def test_asking_by_name_imports_no_library_of_a_model() -> None:
    script = (
        "import sys, xcomp_model; [xcomp_model.capabilities_of(n) for n in ('draft', 'openai:m', '/folder')]; "
        "print([each for each in ('torch', 'transformers', 'openai', 'xllamacpp') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
