"""Composing models behind one seam: `base` says what they can do, `load` finds one by its name.

Importing this package imports no model library; a family's libraries come with its first model.
"""

from collections.abc import Callable

from xcomp_model.base import ModelError, VisionLanguageModel


def _xcomposer(name: str) -> VisionLanguageModel:
    from xcomp_model.xcomposer import open_model

    return open_model(name)


def _openai(name: str) -> VisionLanguageModel:
    from xcomp_model.openai import OpenAIModel

    return OpenAIModel(name.partition(":")[2])


def _echo(_: str) -> VisionLanguageModel:
    from xcomp_model.echo import EchoModel

    return EchoModel()


_FAMILIES: tuple[tuple[str, Callable[[str], VisionLanguageModel]], ...] = (
    ("echo", _echo),
    ("openai:", _openai),
    ("internlm/internlm-xcomposer", _xcomposer),
    ("internlm-xcomposer", _xcomposer),
    ("/", _xcomposer),
    (".", _xcomposer),
    ("~", _xcomposer),
)


def load(name: str) -> VisionLanguageModel:
    """Loads the model that `name` stands for: a hub id, a local folder, `openai:MODEL`, `echo`.

    Raises:
        ModelError: no such model, no room for it, or its files or libraries are missing; the message names the way out.
    """
    for prefix, family in _FAMILIES:
        if name.startswith(prefix):
            return family(name)
    raise ModelError(
        f"unknown composer model {name!r}: use internlm/internlm-xcomposer2-7b or a relative of it, "
        "a local folder of one, or openai:MODEL"
    )
