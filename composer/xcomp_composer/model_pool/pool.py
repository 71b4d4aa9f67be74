"""The models of a composer: which model does what in a profile, loaded once each, on first use.

Illustrating by scores alone loads nothing. Only this file imports the loader of the model package, and only when a
model is needed, so that a composer without a language model stays light.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_protos.errors import Conflict, InvalidRequest, Unsupported

if TYPE_CHECKING:
    from xcomp_composer.model_pool.session import LoadedModel
    from xcomp_model.base import Capabilities, VisionLanguageModel

RETRIEVAL = "retrieval"  # the composer model that is no language model: the scores of the repository decide
DRAFT = "draft"
ILLUSTRATORS = {"clip": RETRIEVAL, "lite": RETRIEVAL, "xcomposer": "internlm/internlm-xcomposer2-7b"}  # by profile
WRITERS = {"clip": "", "lite": DRAFT, "xcomposer": "internlm/internlm-xcomposer2-7b"}
MAX_ENDPOINT_MODELS = 32  # in memory; those that were used last are kept
_QUEUE_LENGTH = 64  # more than the calls that a server accepts

_NO_WRITER = (
    "the model retrieval illustrates, it does not write: name a model that writes with --model openai:MODEL, "
    "or use a repository of --profile lite for an English draft"
)
_NO_EDITOR = (
    "the model retrieval does not write segments: give the new text yourself, or name a model that writes with --model "
    "openai:MODEL or --model internlm/internlm-xcomposer2-7b"
)
_NO_CHAT = (
    "{model} cannot chat: name a model that can with --model openai:MODEL or --model internlm/internlm-xcomposer2-7b"
)
_ENGLISH_ONLY = (
    "the small local model drafts English only: use --lang en, name a model that writes Chinese with "
    "--model openai:MODEL, or bring your own text to xcomp illustrate"
)

Check = Callable[[], float]  # returns the seconds that are left of a call; raises when it was cancelled


@dataclass(frozen=True)
class EndpointConfig:
    """An OpenAI-compatible endpoint."""

    url: str = ""
    key: str = ""


@dataclass(frozen=True)
class LocalRuntime:
    """How models run in this process; the fields are those of `xcomp_model.base.Runtime`."""

    device: str = "auto"
    precision: str = "auto"
    procedure: Literal["native", "reference"] = "native"
    prompts_bytes: int | None = None


_AUTO = LocalRuntime()


class ModelPool:
    """The models of a composer in memory."""

    def __init__(self, endpoint: EndpointConfig, local: LocalRuntime = _AUTO) -> None:
        self._endpoint = endpoint
        self._local = local
        self._lock = threading.Lock()
        self._loading: dict[str, FairQueue] = {}
        self._loaded: dict[str, LoadedModel] = {}

    def names(self) -> list[str]:
        """Returns the names of the models in memory."""
        return sorted(self._loaded)

    def load_illustrator(self, model: str, profile: str, check: Check) -> "LoadedModel | None":
        """Returns the model that places and chooses images; None if the scores of the repository do.

        Args:
            model: as the request names it, or empty.
            profile: its model is used if `model` is empty.
            check: returns the seconds that are left; raises when the call was cancelled.

        Raises:
            InvalidRequest: there is no such model.
            Conflict: the model cannot be loaded, whatever the request says.
        """
        name = model or ILLUSTRATORS.get(profile, RETRIEVAL)
        if name == RETRIEVAL or not _capabilities(name).sees:
            return None
        loaded = self._load(name, check)
        return loaded if loaded.model.capabilities.sees else None

    def load_writer(self, model: str, profile: str, *, language: str, check: Check) -> "LoadedModel":
        """Returns the model that writes in the language; raises like `load_illustrator`, or Unsupported."""
        name = model or WRITERS.get(profile, "")
        if name in ("", RETRIEVAL):
            raise Unsupported(_NO_WRITER)
        if _canonical_name(name) == DRAFT and language != "en":
            raise Unsupported(_ENGLISH_ONLY)
        return self._load(name, check)

    def load_editor(self, model: str, profile: str, check: Check) -> "LoadedModel":
        """Returns the model that rewrites paragraphs; raises like `load_writer`."""
        name = model or ILLUSTRATORS.get(profile, RETRIEVAL)
        if name == RETRIEVAL:
            raise Unsupported(_NO_EDITOR)
        return self._load(name, check)

    def load_chat(self, model: str, profile: str, check: Check) -> "LoadedModel":
        """Returns the model that answers questions; raises like `load_writer`."""
        name = model or ILLUSTRATORS.get(profile, RETRIEVAL)
        if name == RETRIEVAL or _canonical_name(name) == DRAFT:
            raise Unsupported(_NO_CHAT.format(model=name))
        return self._load(name, check)

    def _load(self, name: str, check: Check) -> "LoadedModel":
        from xcomp_composer.model_pool.session import LoadedModel

        name = _canonical_name(name)
        with self._lock:
            entrance = self._loading.setdefault(name, FairQueue(width=1, waiting=_QUEUE_LENGTH))
        try:
            with entrance.enter(check):
                if name not in self._loaded:
                    model = self._open(name)
                    queue = FairQueue(width=model.capabilities.at_once, waiting=_QUEUE_LENGTH)
                    self._loaded[name] = LoadedModel(model, queue)
                return self._mark_used(name)
        finally:
            if name not in self._loaded:
                self._loading.pop(name, None)

    def _mark_used(self, name: str) -> "LoadedModel":
        """Moves a model to the end of those in memory; forgets the endpoint models that were not used for longest."""
        with self._lock:
            loaded = self._loaded[name] = self._loaded.pop(name)
            endpoints = [each for each in self._loaded if each.startswith(("openai:", "openai-text:"))]
            for each in endpoints[:-MAX_ENDPOINT_MODELS]:
                del self._loaded[each]
                self._loading.pop(each, None)
        return loaded

    def _open(self, name: str) -> "VisionLanguageModel":
        from xcomp_model import base, load

        runtime = base.Runtime(
            device=self._local.device,
            precision=self._local.precision,
            procedure=self._local.procedure,
            prompts_bytes=self._local.prompts_bytes,
            base_url=self._endpoint.url,
            api_key=self._endpoint.key,
        )
        try:
            return load(name, runtime)
        except base.UnknownModel as error:
            raise InvalidRequest(f"model: {error}") from None
        except base.ModelFailure as error:
            raise Conflict(str(error)) from None


def _canonical_name(name: str) -> str:
    """Returns the one name of a model, so that each is in memory once."""
    from xcomp_model import base, canonical_name

    try:
        return canonical_name(name)
    except base.UnknownModel as error:
        raise InvalidRequest(f"model: {error}") from None


def _capabilities(name: str) -> "Capabilities":
    """Returns what a model can do, without loading it."""
    from xcomp_model import base, capabilities_of

    try:
        return capabilities_of(name)
    except base.UnknownModel as error:
        raise InvalidRequest(f"model: {error}") from None
