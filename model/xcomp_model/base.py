"""The interface of a composing model: structured prompts go in, text and choices come out.

A prompt is a tuple of parts, never a string with markup. Its builder says which words are the user's, which are ours,
where an image stands and where a turn ends, so the text of a user is data, whatever it contains. This file does not
depend on a model, a model library or a service.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Literal, Protocol

from PIL import Image

Stage = Literal["write", "spot", "query", "choose", "describe", "chat", "edit"]
Change = Literal["rewrite", "expand", "shorten", "insert_before", "insert_after"]
LETTERS = ascii_uppercase  # name the candidates of a choice
MIN_MASS = 0.5  # of the probability on the options of a choice; below it the model did not answer the question
CancelCheck = Callable[[], bool]  # true once the caller no longer waits for the answer


class ModelFailure(Exception):
    """A model cannot be loaded or cannot answer; the message is one line and names the way out."""


class UnknownModel(ModelFailure):
    """A name that belongs to no model."""


class EndpointUnavailable(ModelFailure):
    """The server behind a model does not answer now; another question would fail, too."""


@dataclass(frozen=True)
class Text:
    """Words of a user or an article; they are never searched for marks."""

    text: str


@dataclass(frozen=True)
class Template:
    """Trusted words of xcomp."""

    text: str


@dataclass(frozen=True)
class ImagePart:
    """An image that the model sees at this point of the prompt; parts with equal keys are equal.

    Attributes:
        key: hash of the content; features are cached under it.
        image: upright RGB.
    """

    key: str
    image: Image.Image = field(compare=False, repr=False)


@dataclass(frozen=True)
class Control:
    """A control mark by its name in the model's family, such as the end of a turn; only prompt builders create it."""

    name: str


# The names of earlier versions; programs that import them keep working.
ModelError = ModelFailure
Picture = ImagePart

Part = Text | Template | ImagePart | Control
Prompt = tuple[Part, ...]


@dataclass(frozen=True)
class Section:
    """A piece of the article, with the image that already stands after it."""

    text: str
    image: ImagePart | None = None


@dataclass(frozen=True)
class Brief:
    """What an article is to be written from; empty fields are left out."""

    instruction: str
    title: str = ""
    outline: str = ""
    keywords: tuple[str, ...] = ()
    requirements: str = ""  # on style, length, audience
    material: str = ""  # facts and texts to write from
    references: tuple[ImagePart, ...] = ()
    language: str = "zh"


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; only the turns of the user have images."""

    speaker: Literal["user", "assistant"]
    text: str
    images: tuple[ImagePart, ...] = ()


class AnswerGrammar(Protocol):
    """The texts that are allowed as an answer, described by their prefixes."""

    @property
    def characters(self) -> frozenset[str]:
        """All characters that occur in these texts."""

    def is_prefix(self, text: str) -> bool:
        """Whether an allowed answer starts with this text; a whole answer counts, too."""

    def is_complete(self, text: str) -> bool:
        """Whether this text is an allowed answer."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. A backend that cannot obey a field raises ModelFailure.

    Attributes:
        repetition_penalty: divides the scores of tokens that are in the answer (not in the prompt); 1 has no effect.
        beams: more than 1 runs a beam search, which yields the whole answer at its end instead of a stream of tokens.
        stop: strings that end the answer; they are not part of it.
        grammar: what the answer must look like; tokens that would leave it are never drawn. None allows everything.
    """

    temperature: float = 0.0  # 0 is greedy
    top_k: int = 0  # 0 keeps all tokens
    top_p: float = 1.0  # 1 keeps all tokens
    repetition_penalty: float = 1.0
    seed: int = 0
    max_new_tokens: int = 512
    beams: int = 1
    stop: tuple[str, ...] = ()
    grammar: AnswerGrammar | None = None


@dataclass(frozen=True)
class Choice:
    """How likely each option is.

    Attributes:
        probabilities: one per option, in their order; they sum to 1.
        mass: share of the model's whole probability that fell on the options, 0..1; 1 if it is unknown.
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
        procedure: `reference` decodes as the released code does, for comparisons.
        wording: of a local model's prompts: as it was trained, or in English, which was never tested on real weights.
        prompts_bytes: memory for a local model's keys and values, those of earlier prompts included. None is what a GPU
            has free beside the model and its workspace, or 2 GiB on a CPU; never less than the size of two prompts.
    """

    device: str = "auto"  # or cpu, cuda, cuda:N, or spread (layers over all GPUs)
    precision: str = "auto"  # or bf16, fp16, fp32
    procedure: Literal["native", "reference"] = "native"
    wording: Literal["trained", "english"] = "trained"
    prompts_bytes: int | None = None
    base_url: str = ""  # of an OpenAI-compatible endpoint, up to and including `/v1`
    api_key: str = field(default="", repr=False)  # of that endpoint


@dataclass(frozen=True)
class Capabilities:
    """What a model can do.

    Attributes:
        sees: it reads the images of a prompt.
        languages: of the articles it writes: `en`, `zh`.
        logprobs: `choose` uses the scores of the options, not a generated answer.
        context_tokens: prompt and answer together; 0 before loading where only loading tells.
        at_once: calls that it serves at the same time; the caller queues the others.
        writes_markdown: its articles are Markdown, with a blank line between paragraphs; else each line is a paragraph.
    """

    sees: bool
    languages: frozenset[str]
    logprobs: bool
    context_tokens: int = 0
    at_once: int = 1
    writes_markdown: bool = True


class Prompts(Protocol):
    """The prompts of every stage in the wording that the model was trained with, and how its answers are read.

    Builders keep to the model's context: they shorten or drop the context that is farthest away first; the question
    and the candidates always stay. They raise ModelFailure if even those do not fit.
    """

    @property
    def version(self) -> str:
        """Names family and wording; errors and records carry it."""

    @property
    def candidates_at_once(self) -> int:
        """How many images the model was trained to choose from."""

    def write(self, brief: Brief) -> Prompt:
        """Asks for an article."""

    def spot(self, sections: Sequence[str], *, count: int | None = None, images: Sequence[ImagePart] = ()) -> Prompt:
        """Asks after which sections images belong; with `count` None, the model decides how many."""

    def query(
        self, sections: Sequence[str], section: int, *, earlier: Sequence[tuple[int, str]] = (), language: str = ""
    ) -> Prompt:
        """Asks for a description of the image that belongs after a section of the article.

        `earlier` has the descriptions of other sections, by their numbers; `language` is by default the article's own.
        """

    def choose(self, sections: Sequence[Section], candidates: Sequence[ImagePart]) -> Prompt:
        """Asks which candidate belongs after the last section; the options are the first of LETTERS."""

    def describe(self, image: ImagePart, *, language: str) -> Prompt:
        """Asks for one sentence about the image itself."""

    def chat(self, turns: Sequence[Turn]) -> Prompt:
        """Asks the question of the last turn, which is the user's, with the turns before it as history."""

    def edit(self, change: Change, sections: Sequence[str], section: int, *, hint: str = "") -> Prompt:
        """Asks for a new version of a section, or for a new section before or after it."""

    def sampling(self, stage: Stage, *, seed: int = 0) -> Sampling:
        """Returns how the answer of a stage is drawn."""

    def spot_grammar(self, free: Collection[int], *, count: int | None, apart: int) -> AnswerGrammar | None:
        """Returns the grammar of the answer to `spot`; None if the backend cannot be bound to one.

        The answer names `count` (None: one or more) of the `free` sections, at least `apart` from each other; at least
        `count * (2 * apart - 1)` sections are free.
        """

    def parse_spots(self, answer: str, *, sections: int) -> tuple[int, ...]:
        """Reads the answer to `spot`: existing sections only, ascending, each once."""

    def parse_query(self, answer: str) -> str:
        """Reads the answer to `query`; may be empty."""


def never() -> bool:
    """Returns False: the `is_cancelled` of a call that cannot be cancelled."""
    return False


class VisionLanguageModel(Protocol):
    """A composing model in memory, or at an endpoint."""

    @property
    def name(self) -> str:
        """The resolved id, as articles record it."""

    @property
    def digest(self) -> str:
        """Hex digest that tells one set of weights from another; empty if the weights are unknown."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def prompts(self) -> Prompts:
        """Its prompts."""

    def stream(self, prompt: Prompt, sampling: Sampling, *, is_cancelled: CancelCheck = never) -> Iterator[str]:
        """Yields the answer in pieces; ends within one token after `is_cancelled` is true or the generator is closed.

        Raises:
            ModelFailure: the prompt is empty, exceeds the context or has images that the model cannot see; no memory.
        """

    def choose(self, prompt: Prompt, options: Sequence[str], *, is_cancelled: CancelCheck = never) -> Choice:
        """Returns how likely each option is to be the answer, over all of its spellings.

        Raises:
            ModelFailure: as `stream`; or the mass is below MIN_MASS; or it was cancelled.
        """

    def count_tokens(self, prompt: Prompt) -> int:
        """Counts the positions of the prompt, images included, without running the model."""
