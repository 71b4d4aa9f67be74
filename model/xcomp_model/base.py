"""The seam of the composing models: structured prompts in, text and choices out.

The one idea: a prompt is a tuple of parts, never a string with markup. Whoever builds it says which words are the
user's, which are ours, where a picture stands and where a turn ends; so user text is data, whatever it contains. This
file knows no model, no library and no service.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from PIL import Image

Stage = Literal["write", "spot", "query", "choose", "describe", "chat", "edit"]
Change = Literal["rewrite", "expand", "shorten", "insert_before", "insert_after"]


class ModelError(Exception):
    """A model that cannot be loaded, asked or believed; the message is one line and names the way out."""


class UnknownModel(ModelError):
    """A name that stands for no model."""


class EndpointUnavailable(ModelError):
    """The server behind a model does not answer now; asking it something else will not help."""


@dataclass(frozen=True)
class Text:
    """Words of a user or an article: never parsed for marks of any kind."""

    text: str


@dataclass(frozen=True)
class Template:
    """Trusted wording of ours."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A place where the model sees an image; equal keys are equal pictures.

    Attributes:
        key: hash of the content; features are cached under it.
        image: upright RGB.
    """

    key: str
    image: Image.Image = field(compare=False, repr=False)


@dataclass(frozen=True)
class Control:
    """A control mark by its name in the model's family, such as the end of a turn; only our builders write it."""

    name: str


Part = Text | Template | Picture | Control
Prompt = tuple[Part, ...]


@dataclass(frozen=True)
class Section:
    """A piece of the article, with the picture that already stands after it."""

    text: str
    picture: Picture | None = None


@dataclass(frozen=True)
class Brief:
    """What an article is to be written from; empty fields say nothing."""

    instruction: str
    title: str = ""
    outline: str = ""
    keywords: tuple[str, ...] = ()
    requirements: str = ""  # on style, length, audience
    material: str = ""  # facts and texts to write from
    references: tuple[Picture, ...] = ()
    language: str = "zh"


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; only the user shows pictures."""

    speaker: Literal["user", "assistant"]
    text: str
    pictures: tuple[Picture, ...] = ()


class AnswerGrammar(Protocol):
    """What an answer must look like, told by how it may begin."""

    @property
    def characters(self) -> frozenset[str]:
        """All that it may consist of."""

    def may_begin(self, said: str) -> bool:
        """Whether what is said can become such an answer, or is one."""

    def may_end(self, said: str) -> bool:
        """Whether what is said is such an answer."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. A backend that cannot obey a field says so in a ModelError.

    Attributes:
        temperature: 0 is greedy.
        top_k: 0 keeps all tokens.
        top_p: 1 keeps all tokens.
        repetition_penalty: divides the scores of tokens already in the answer (not in the prompt); 1 is none.
        beams: more than 1 searches instead of streaming token by token, and yields the answer at its end.
        stop: strings that end the answer; they are not part of it.
        form: what the answer must look like; tokens that would leave it are never drawn. None leaves it free.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    max_new_tokens: int = 512
    beams: int = 1
    stop: tuple[str, ...] = ()
    form: AnswerGrammar | None = None


@dataclass(frozen=True)
class Choice:
    """How likely each option is.

    Attributes:
        probabilities: one per option, in their order; they sum to 1.
        mass: share of the model's whole probability that fell on the options, 0..1; 1 where it cannot be known.
        orders: in how many orders the options were shown; the probabilities are the mean.
        flipped: the two orders preferred different options.
    """

    probabilities: tuple[float, ...]
    mass: float
    orders: int = 1
    flipped: bool = False


@dataclass(frozen=True)
class Runtime:
    """Where and how a model runs.

    Attributes:
        device: auto, cpu, cuda, cuda:N, or spread (layers over all GPUs).
        precision: auto, bf16, fp16 or fp32.
        procedure: `reference` decodes as released, to compare with.
        wording: of a local model's prompts: as trained, or in English, which nobody has proven.
        prompts_bytes: of a local model's keys and values: of what it reads, and of prompts it has read before. None
            is what a GPU has free once the model is loaded, less its workspace, or 2 GiB on a CPU; never less than two
            prompts take.
        base_url: of an OpenAI-compatible endpoint, up to and including `/v1`.
        api_key: of that endpoint.
    """

    device: str = "auto"
    precision: str = "auto"
    procedure: Literal["native", "reference"] = "native"
    wording: Literal["trained", "english"] = "trained"
    prompts_bytes: int | None = None
    base_url: str = ""
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Capabilities:
    """What a model can do.

    Attributes:
        sees: pictures in the prompt reach it.
        languages: of the articles it writes: `en`, `zh`.
        logprobs: `choose` rests on scores, not on a drawn answer.
        context_tokens: prompt and answer together.
        at_once: calls that it serves at the same time; who shares it keeps the queue of the others.
        writes_markdown: articles come in Markdown; the other models end each paragraph with a line break.
    """

    sees: bool
    languages: frozenset[str]
    logprobs: bool
    context_tokens: int
    at_once: int = 1
    writes_markdown: bool = True


class Prompts(Protocol):
    """The wording of every stage in the way its model was trained, and how its answers are drawn and read.

    Builders keep to the model's context: the farthest context is shortened or dropped first; question and candidates
    always stay. ModelError where even those do not fit.
    """

    @property
    def version(self) -> str:
        """Names family and wording; errors and records carry it."""

    @property
    def candidates_at_once(self) -> int:
        """How many pictures the model was trained to choose from."""

    def write(self, brief: Brief) -> Prompt:
        """Asks for an article."""

    def spot(self, sections: Sequence[str], *, count: int | None = None, pictures: Sequence[Picture] = ()) -> Prompt:
        """Asks after which sections pictures belong; `count` None leaves their number to the model."""

    def query(
        self, sections: Sequence[str], place: int, *, earlier: Sequence[tuple[int, str]] = (), language: str = ""
    ) -> Prompt:
        """Asks for the description of the wished picture after section `place`, in the article's language by default.

        Args:
            sections: the article.
            place: the picture follows this section.
            earlier: places with their descriptions.
            language: of the description.
        """

    def choose(self, sections: Sequence[Section], candidates: Sequence[Picture]) -> Prompt:
        """Asks which candidate belongs after the last section; the options are the letters from A."""

    def describe(self, picture: Picture, *, language: str) -> Prompt:
        """Asks for one sentence about the picture itself."""

    def chat(self, turns: Sequence[Turn]) -> Prompt:
        """Asks the last turn, the user's, with the turns before it as history."""

    def edit(self, change: Change, sections: Sequence[str], place: int, *, hint: str = "") -> Prompt:
        """Asks for section `place` anew, or for a new section before or after it."""

    def sampling(self, stage: Stage, *, seed: int = 0) -> Sampling:
        """How the stage's answer is drawn."""

    def spot_form(self, free: Collection[int], *, count: int | None, apart: int) -> AnswerGrammar | None:
        """What the answer to `spot` must look like; None where the backend cannot be bound to it.

        Args:
            free: sections that may be named.
            count: so many are; None: one at least.
            apart: the least distance between two of them; free are `count * (2 * apart - 1)` at least.
        """

    def spots_in(self, answer: str, *, sections: int) -> tuple[int, ...]:
        """Reads the answer to `spot`: existing sections only, ascending, each once."""

    def query_in(self, answer: str) -> str:
        """Reads the answer to `query`; may be empty."""


def never() -> bool:
    """The `cancelled` of a call that nobody cancels."""
    return False


class VisionLanguageModel(Protocol):
    """A composing model in memory, or at an endpoint."""

    @property
    def name(self) -> str:
        """The resolved id, as articles record it."""

    @property
    def digest(self) -> str:
        """Hex digest that tells one set of weights from another; empty where nobody can know."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def prompts(self) -> Prompts:
        """The wording it was trained with."""

    def stream(self, prompt: Prompt, sampling: Sampling, *, cancelled: Callable[[], bool] = never) -> Iterator[str]:
        """Yields the answer in pieces; ends within one token once `cancelled` is true or the generator is closed.

        Raises:
            ModelError: an empty prompt, a prompt over the context, pictures for a model that does not see, no memory.
        """

    def choose(self, prompt: Prompt, options: Sequence[str], *, cancelled: Callable[[], bool] = never) -> Choice:
        """Says how likely each option is to be the answer, over all of its spellings.

        Raises:
            ModelError: as `stream`; or less than half of all probability fell on the options; or nobody waits any more.
        """

    def count_tokens(self, prompt: Prompt) -> int:
        """Counts the positions that the prompt takes, pictures included, without running the model."""
