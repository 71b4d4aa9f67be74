"""The models of a composer: which model does what in a profile, loaded once each, on first use.

Illustrating by scores alone loads nothing. Only this file imports the loader of the model package, and only when a
model is needed, so that a composer without a language model stays light.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_composer.model_pool.model_names import check_model
from xcomp_protos.errors import Conflict, InvalidRequest, Unsupported

if TYPE_CHECKING:
    from xcomp_composer.model_pool.session import LoadedModel
    from xcomp_model.base import Capabilities

log = logging.getLogger(__name__)

RETRIEVAL = "retrieval"  # the composer model that is no language model: the scores of the repository decide
DRAFT = "draft"
ILLUSTRATORS = {"clip": RETRIEVAL, "lite": RETRIEVAL, "xcomposer": "internlm/internlm-xcomposer2-7b"}  # by profile
WRITERS = {"clip": "", "lite": DRAFT, "xcomposer": "internlm/internlm-xcomposer2-7b"}
MAX_MODELS = 16  # in memory; the one that was loaded first makes room, its calls end in peace
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
    """The models of a composer in memory.

    Args:
        endpoint: of the models `openai:NAME`.
        local: how models run in this process.
        allowed: names and folders that callers may use beside the known models; `*`: any.
    """

    def __init__(
        self, endpoint: EndpointConfig, local: LocalRuntime = _AUTO, *, allowed: Collection[str] = frozenset()
    ) -> None:
        self._allowed = allowed
        self._lock = threading.Lock()
        self._endpoint = endpoint
        self._local = local
        self._loading: dict[str, tuple[FairQueue, int]] = {}  # by model, with the number of callers
        self._loaded: dict[str, LoadedModel] = {}

    def names(self) -> list[str]:
        """Returns the names of the models in memory."""
        return sorted(self._loaded)

    def free_idle(self, after_s: float) -> bool:
        """Removes models from memory that were unused for `after_s` seconds; returns whether there were any."""
        unused = [name for name, loaded in list(self._loaded.items()) if loaded.queue.idle_s() > after_s]
        for name in unused:
            del self._loaded[name]
            log.info("event=model_freed model=%s", name)
        return bool(unused)

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
        name = self._check(model) or ILLUSTRATORS.get(profile, RETRIEVAL)
        if name == RETRIEVAL or not _capabilities(name).sees:
            return None
        loaded = self._load(name, check)
        return loaded if loaded.model.capabilities.sees else None

    def load_writer(self, model: str, profile: str, *, language: str, check: Check) -> "LoadedModel":
        """Returns the model that writes in the language; raises like `load_illustrator`, or Unsupported."""
        name = self._check(model) or WRITERS.get(profile, "")
        if name in ("", RETRIEVAL):
            raise Unsupported(_NO_WRITER)
        if name == DRAFT and language != "en":
            raise Unsupported(_ENGLISH_ONLY)
        return self._load(name, check)

    def load_editor(self, model: str, profile: str, check: Check) -> "LoadedModel":
        """Returns the model that rewrites paragraphs; raises like `load_writer`."""
        name = self._check(model) or ILLUSTRATORS.get(profile, RETRIEVAL)
        if name == RETRIEVAL:
            raise Unsupported(_NO_EDITOR)
        return self._load(name, check)

    def load_chat(self, model: str, profile: str, check: Check) -> "LoadedModel":
        """Returns the model that answers questions; raises like `load_writer`."""
        name = self._check(model) or ILLUSTRATORS.get(profile, RETRIEVAL)
        if name in (RETRIEVAL, DRAFT):
            raise Unsupported(_NO_CHAT.format(model=name))
        return self._load(name, check)

    def _load(self, name: str, check: Check) -> "LoadedModel":
        from xcomp_composer.model_pool.session import LoadedModel
        from xcomp_model import base, load

        runtime = base.Runtime(
            device=self._local.device,
            precision=self._local.precision,
            procedure=self._local.procedure,
            prompts_bytes=self._local.prompts_bytes,
            base_url=self._endpoint.url,
            api_key=self._endpoint.key,
        )
        with self._turn(name) as turn, turn.enter(check):
            if name not in self._loaded:
                try:
                    model = load(name, runtime)
                except base.UnknownModel as error:
                    raise InvalidRequest(f"model: {error}") from None
                except base.ModelFailure as error:
                    raise Conflict(str(error)) from None
                queue = FairQueue(width=model.capabilities.at_once, waiting=_QUEUE_LENGTH)
                return self._keep(name, LoadedModel(model, queue))
            return self._loaded[name]

    def _check(self, model: str) -> str:
        """Returns the name that a request gives, which may be empty; raises `InvalidRequest` for one not allowed."""
        if model:
            check_model(model, self._allowed)
        return model

    @contextmanager
    def _turn(self, name: str) -> Iterator[FairQueue]:
        """Yields the queue of the callers of one model; nothing stays of it when the last of them has left."""
        with self._lock:
            queue, callers = self._loading.get(name) or (FairQueue(width=1, waiting=_QUEUE_LENGTH), 0)
            self._loading[name] = queue, callers + 1
        try:
            yield queue
        finally:
            with self._lock:
                queue, callers = self._loading.pop(name)
                if callers > 1:
                    self._loading[name] = queue, callers - 1

    def _keep(self, name: str, loaded: "LoadedModel") -> "LoadedModel":
        with self._lock:
            while len(self._loaded) >= MAX_MODELS:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[name] = loaded
        return loaded


def _capabilities(name: str) -> "Capabilities":
    """Returns what a model can do, without loading it."""
    from xcomp_model import base, capabilities_of

    try:
        return capabilities_of(name)
    except base.UnknownModel as error:
        raise InvalidRequest(f"model: {error}") from None
