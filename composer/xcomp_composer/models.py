"""Which model does what in a profile, and what is said where none can.

A model that writes is loaded when it is first asked for; illustrating without a language model needs no loading. Only
this file imports the model package's loader, and only when a model is wanted, so that `retrieval` stays light.
"""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcomp_composer.retrieval import NAME as RETRIEVAL
from xcomp_composer.retrieval import Retrieval
from xcomp_composer.stage import Illustrator
from xcomp_protos.transport.errors import InvalidRequest, ModelError, Unsupported

if TYPE_CHECKING:
    from xcomp_model.base import VisionLanguageModel

DRAFT = "draft"
ILLUSTRATORS = {"clip": RETRIEVAL, "lite": RETRIEVAL, "xcomposer": "internlm/internlm-xcomposer2-7b"}  # by profile
WRITERS = {"clip": "", "lite": DRAFT, "xcomposer": "internlm/internlm-xcomposer2-7b"}
_WRITES = ("openai:", DRAFT, "echo")  # families whose answer is an article as it stands

_NO_WRITER = (
    "the model retrieval illustrates, it does not write: name a model that writes with --model openai:MODEL, "
    "or use a repository of --profile lite for an English draft"
)
_NO_CHAT = "{model} cannot chat: name a model that can with --model openai:MODEL"
_NOT_YET = "{model} does not run in this version: use --model retrieval to illustrate, or --model openai:MODEL to write"
_ENGLISH_ONLY = (
    "the small local model drafts English alone: use --lang en, name a model that writes Chinese with "
    "--model openai:MODEL, or bring your own text to xcomp illustrate"
)


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint."""

    url: str = ""
    key: str = ""


class Models:
    """The models of a composer, loaded once each."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._loaded: dict[str, VisionLanguageModel] = {}

    def illustrator(self, model: str, profile: str) -> Illustrator:
        """Returns who places and chooses.

        Raises:
            Unsupported: the model cannot; the message names ways.
        """
        name = model or ILLUSTRATORS.get(profile, RETRIEVAL)
        if name == RETRIEVAL or name.startswith(_WRITES):
            return Retrieval()  # a model that only writes leaves the pictures to the repository's spaces
        if name.startswith("internlm"):
            raise Unsupported(_NOT_YET.format(model=name))
        raise InvalidRequest(f"model: {name!r} is unknown: use retrieval, or openai:MODEL to write")

    def writer(self, model: str, profile: str, language: str) -> "VisionLanguageModel":
        """Returns who writes an article in this language.

        Raises:
            Unsupported: nobody can; the message names ways.
            ModelError: the model cannot be loaded.
        """
        name = model or WRITERS.get(profile, "")
        if name in ("", RETRIEVAL):
            raise Unsupported(_NO_WRITER)
        if name == DRAFT and language != "en":
            raise Unsupported(_ENGLISH_ONLY)
        return self._load(name)

    def talker(self, model: str, profile: str) -> "VisionLanguageModel":
        """Returns who answers questions; raises like `writer`."""
        name = model or ILLUSTRATORS.get(profile, RETRIEVAL)
        if name in (RETRIEVAL, DRAFT):
            raise Unsupported(_NO_CHAT.format(model=name))
        return self._load(name)

    def _load(self, name: str) -> "VisionLanguageModel":
        if not name.startswith(_WRITES):
            self.illustrator(name, "")  # says why not
        from xcomp_model import base, load

        with self._lock:
            if name not in self._loaded:
                runtime = base.Runtime(base_url=self._endpoint.url, api_key=self._endpoint.key)
                try:
                    self._loaded[name] = load(name, runtime)
                except base.ModelError as error:
                    raise ModelError(str(error)) from None
            return self._loaded[name]
