"""Composing models behind one seam: `base` says what they can do, `load` finds one by its name.

Importing this package imports no model library; a family's libraries come with its first model.
"""

import os
from collections.abc import Callable

from xcomp_model.base import ModelError, Runtime, UnknownModel, VisionLanguageModel


def _xcomposer(name: str, runtime: Runtime) -> VisionLanguageModel:
    from xcomp_model.xcomposer.loading import open_model

    return open_model(name, runtime)


def _openai(name: str, runtime: Runtime) -> VisionLanguageModel:
    from xcomp_model.openai_api.model import OpenAIModel

    return OpenAIModel(name.partition(":")[2], base_url=runtime.base_url, api_key=runtime.api_key)


def _openai_text(name: str, runtime: Runtime) -> VisionLanguageModel:
    from xcomp_model.base import Capabilities
    from xcomp_model.openai_api.model import AT_ONCE, OpenAIModel

    return OpenAIModel(
        name.partition(":")[2],
        base_url=runtime.base_url,
        api_key=runtime.api_key,
        capabilities=Capabilities(
            sees=False, languages=frozenset({"en", "zh"}), logprobs=True, context_tokens=32768, at_once=AT_ONCE
        ),
    )


def _draft(_: str, __: Runtime) -> VisionLanguageModel:
    from xcomp_model.draft import open_draft

    return open_draft()


def _echo(_: str, __: Runtime) -> VisionLanguageModel:
    from xcomp_model.echo import EchoModel

    return EchoModel()


_FAMILIES: tuple[tuple[str, Callable[[str, Runtime], VisionLanguageModel]], ...] = (
    ("echo", _echo),
    ("openai:", _openai),
    ("openai-text:", _openai_text),
    ("draft", _draft),
    ("internlm/internlm-xcomposer", _xcomposer),
    ("internlm-xcomposer", _xcomposer),
    ("/", _xcomposer),
    (".", _xcomposer),
    ("~", _xcomposer),
)

_DEFAULT = Runtime()


def load(name: str, runtime: Runtime = _DEFAULT) -> VisionLanguageModel:
    """Loads the model that `name` stands for: a hub id, a local folder, `openai:MODEL`, `openai-text:MODEL` if it
    does not see, `draft`, `echo`.

    Raises:
        UnknownModel: the name stands for none.
        ModelError: no such model, no room for it, or its files or libraries are missing; the message names the way out.
    """
    for prefix, family in _FAMILIES:
        if name.startswith(prefix):
            return _with_its_libraries(family, name, runtime)
    if os.path.isdir(name):  # noqa: PTH112  # a name may be too long for a path, or hold what none may
        return _with_its_libraries(_xcomposer, name, runtime)
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
