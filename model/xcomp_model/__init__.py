"""Composing models behind one interface: `base` defines it, `load` returns the model of a name.

Importing this package imports no model library; the libraries of a family are imported with its first model.
"""

from xcomp_model.base import Capabilities, Runtime, VisionLanguageModel
from xcomp_model.families import find_family

_DEFAULT = Runtime()


def load(name: str, runtime: Runtime = _DEFAULT) -> VisionLanguageModel:
    """Loads a model by its name: a hub id, a local folder, `openai:MODEL`, `openai-text:MODEL` if it does not see
    images, `draft`, or `echo`.

    Raises:
        UnknownModel: the name belongs to no family.
        ModelFailure: the model is not found, does not fit, or its files or libraries are missing; the message names the
            way out.
    """
    return find_family(name).open(name, runtime)


def capabilities_of(name: str) -> Capabilities:
    """Returns what a model can do, from its name alone; `context_tokens` is 0 where only loading tells.

    Raises:
        UnknownModel: the name belongs to no family.
    """
    return find_family(name).capabilities
