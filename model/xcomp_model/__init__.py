"""Composing models behind one seam: `base` says what they can do, `load` finds one by its name.

Importing this package imports no model library; a family's libraries come with its first model.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from xcomp_model.base import Capabilities, ModelError, Runtime, UnknownModel, VisionLanguageModel

_BOTH = frozenset({"en", "zh"})
_ECHO = Capabilities(sees=False, languages=_BOTH, logprobs=True, context_tokens=1_000_000)
_ENDPOINT = Capabilities(sees=True, languages=_BOTH, logprobs=True, context_tokens=32768, at_once=4)
_DRAFT = Capabilities(sees=False, languages=frozenset({"en"}), logprobs=True, context_tokens=4096)
_XCOMPOSER = Capabilities(
    sees=True, languages=_BOTH, logprobs=True, context_tokens=2048, at_once=8, writes_markdown=False
)


def _xcomposer(name: str, runtime: Runtime) -> VisionLanguageModel:
    from xcomp_model.xcomposer.loading import open_model

    return open_model(name, runtime)


def _openai(name: str, runtime: Runtime) -> VisionLanguageModel:
    from xcomp_model.openai_api.model import OpenAIModel

    return OpenAIModel(name.partition(":")[2], base_url=runtime.base_url, api_key=runtime.api_key)


def _openai_text(name: str, runtime: Runtime) -> VisionLanguageModel:
    from xcomp_model.openai_api.model import OpenAIModel

    return OpenAIModel(
        name.partition(":")[2],
        base_url=runtime.base_url,
        api_key=runtime.api_key,
        capabilities=replace(_ENDPOINT, sees=False),
    )


def _draft(_: str, __: Runtime) -> VisionLanguageModel:
    from xcomp_model.draft import open_draft

    return open_draft()


def _echo(_: str, __: Runtime) -> VisionLanguageModel:
    from xcomp_model.echo import EchoModel

    return EchoModel()


@dataclass(frozen=True)
class _Family:
    """The models whose names begin alike, and what they can do as far as it is known before one is loaded."""

    prefix: str
    load: Callable[[str, Runtime], VisionLanguageModel]
    capabilities: Capabilities


_FAMILIES = (
    _Family("echo", _echo, _ECHO),
    _Family("openai:", _openai, _ENDPOINT),
    _Family("openai-text:", _openai_text, replace(_ENDPOINT, sees=False)),
    _Family("draft", _draft, _DRAFT),
    _Family("internlm/internlm-xcomposer", _xcomposer, _XCOMPOSER),
    _Family("internlm-xcomposer", _xcomposer, _XCOMPOSER),
    _Family("/", _xcomposer, _XCOMPOSER),
    _Family(".", _xcomposer, _XCOMPOSER),
    _Family("~", _xcomposer, _XCOMPOSER),
)

_DEFAULT = Runtime()


def load(name: str, runtime: Runtime = _DEFAULT) -> VisionLanguageModel:
    """Loads the model that `name` stands for: a hub id, a local folder, `openai:MODEL`, `openai-text:MODEL` if it
    does not see, `draft`, `echo`.

    Raises:
        UnknownModel: the name stands for none.
        ModelError: no such model, no room for it, or its files or libraries are missing; the message names the way out.
    """
    return _with_its_libraries(_family_of(name).load, name, runtime)


def capabilities_of(name: str) -> Capabilities:
    """Returns what the model of this name can do, without loading it or importing its libraries.

    Its context may turn out to be longer once it is loaded.

    Raises:
        UnknownModel: no model has this name.
    """
    return _family_of(name).capabilities


def _family_of(name: str) -> _Family:
    for family in _FAMILIES:
        if name.startswith(family.prefix):
            return family
    if os.path.isdir(name):  # noqa: PTH112  # a name may be too long for a path, or hold what none may
        return _FAMILIES[-1]
    raise UnknownModel(
        f"unknown composer model {name!r}: use internlm/internlm-xcomposer2-7b or a relative of it, "
        "a local folder of one, or openai:MODEL"
    )


def _with_its_libraries(
    family: Callable[[str, Runtime], VisionLanguageModel], name: str, runtime: Runtime
) -> VisionLanguageModel:
    try:
        return family(name, runtime)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{name} needs the Python package {error.name}, which is not installed: pip install 'xcomp[composer]'"
        ) from error
