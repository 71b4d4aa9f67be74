"""Which model does what in a profile, and what is said where none can.

A model is loaded when it is first asked for; illustrating without a language model needs no loading. Only this file
imports the model package's loader, and only when a model is wanted, so that `retrieval` stays light.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_protos.errors import Conflict, InvalidRequest, Unsupported

if TYPE_CHECKING:
    from xcomp_composer.model_pool.session import LoadedModel

NAME = "retrieval"

Check = Callable[[], float]

DRAFT = "draft"
ILLUSTRATORS = {"clip": NAME, "lite": NAME, "xcomposer": "internlm/internlm-xcomposer2-7b"}  # by profile
WRITERS = {"clip": "", "lite": DRAFT, "xcomposer": "internlm/internlm-xcomposer2-7b"}
_REMOTE = ("openai:", "openai-text:")
_MARKDOWN = (*_REMOTE, DRAFT, "echo")  # families that write Markdown; the others end a paragraph with a line
_BLIND = (DRAFT, "echo", "openai-text:")  # known not to see, without loading them
_WAITING = 64  # more than there can be calls

_NO_WRITER = (
    "the model retrieval illustrates, it does not write: name a model that writes with --model openai:MODEL, "
    "or use a repository of --profile lite for an English draft"
)
_NO_EDITOR = (
    "the model retrieval does not write segments: give the new words yourself, or name a model that does with --model "
    "openai:MODEL or --model internlm/internlm-xcomposer2-7b"
)
_NO_CHAT = (
    "{model} cannot chat: name a model that can with --model openai:MODEL or --model internlm/internlm-xcomposer2-7b"
)
_ENGLISH_ONLY = (
    "the small local model drafts English alone: use --lang en, name a model that writes Chinese with "
    "--model openai:MODEL, or bring your own text to xcomp illustrate"
)


@dataclass(frozen=True)
class EndpointConfig:
    """An OpenAI-compatible endpoint."""

    url: str = ""
    key: str = ""


@dataclass(frozen=True)
class LocalRuntime:
    """How models run in this process: `auto`, or as `xcomp_model.base.Runtime` says."""

    device: str = "auto"
    precision: str = "auto"
    procedure: Literal["native", "reference"] = "native"
    prompts_bytes: int | None = None


_ANYWHERE = LocalRuntime()


class ModelPool:
    """The models of a composer, loaded once each."""

    def __init__(self, endpoint: EndpointConfig, local: LocalRuntime = _ANYWHERE) -> None:
        self._endpoint = endpoint
        self._local = local
        self._loading: defaultdict[str, FairQueue] = defaultdict(lambda: FairQueue(width=1, waiting=_WAITING))
        self._served: dict[str, LoadedModel] = {}

    def names(self) -> list[str]:
        """Names the models in memory."""
        return sorted(self._served)

    def illustrator(self, model: str, profile: str, check: Check) -> "LoadedModel | None":
        """Returns the model that places and chooses; None where the repository's own spaces do.

        Args:
            model: as the request names it, or empty.
            profile: whose model it is otherwise.
            check: seconds the caller still grants; raises when the caller is gone.

        Raises:
            InvalidRequest: there is no such model.
            Conflict: the model cannot be loaded, and nothing that a caller says would change that.
        """
        name = model or ILLUSTRATORS.get(profile, NAME)
        if name == NAME or name.startswith(_BLIND):
            return None  # a model that only writes leaves the pictures to the repository's spaces
        served = self._load(name, check)
        return served if served.model.capabilities.sees else None

    def writer(self, model: str, profile: str, language: str, check: Check) -> "LoadedModel":
        """Returns the model that writes in this language; raises like `illustrator`, or Unsupported with ways out."""
        name = model or WRITERS.get(profile, "")
        if name in ("", NAME):
            raise Unsupported(_NO_WRITER)
        if name == DRAFT and language != "en":
            raise Unsupported(_ENGLISH_ONLY)
        return self._load(name, check)

    def editor(self, model: str, profile: str, check: Check) -> "LoadedModel":
        """Returns the model that rewords paragraphs; raises like `writer`."""
        name = model or ILLUSTRATORS.get(profile, NAME)
        if name == NAME:
            raise Unsupported(_NO_EDITOR)
        return self._load(name, check)

    def talker(self, model: str, profile: str, check: Check) -> "LoadedModel":
        """Returns the model that answers questions; raises like `writer`."""
        name = model or ILLUSTRATORS.get(profile, NAME)
        if name in (NAME, DRAFT):
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
        with self._loading[name].enter(check):
            if name not in self._served:
                try:
                    model = load(name, runtime)
                except base.UnknownModel as error:
                    raise InvalidRequest(f"model: {error}") from None
                except base.ModelError as error:
                    raise Conflict(str(error)) from None
                lane = FairQueue(width=model.capabilities.at_once, waiting=_WAITING)
                self._served[name] = LoadedModel(model, lane, writes_lines=not name.startswith(_MARKDOWN))
            return self._served[name]
