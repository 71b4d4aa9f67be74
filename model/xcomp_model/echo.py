"""A composing model without weights: the services are tested with it.

Its one idea: answers follow from the prompt alone, so that a test can say beforehand what comes. It writes the user's
last words back, prefers the option that stands first, and sees nothing.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence

from xcomp_model.base import (
    Brief,
    Change,
    Choice,
    Control,
    ModelError,
    Part,
    Picture,
    Prompt,
    Runtime,
    Sampling,
    Section,
    Stage,
    Template,
    Text,
    Turn,
    never,
)
from xcomp_model.families import find_family

_FIRST_SHARE = 0.5  # of the probability that is left, for every option in turn


class EchoPrompts:
    """Prompts whose answer, the last text part, is what the stage would like to hear."""

    version = "echo/1"
    candidates_at_once = 4

    def write(self, brief: Brief) -> Prompt:
        """The article is what the brief says, a line each."""
        said = (brief.title, brief.instruction, brief.requirements, *brief.outline.splitlines(), *brief.keywords)
        return (Text("\n".join(filter(None, (*said, brief.material)))),)

    def spot(self, sections: Sequence[str], *, count: int | None = None, pictures: Sequence[Picture] = ()) -> Prompt:
        """The first `count` sections, one where nobody says how many."""
        return (*pictures, Text(" ".join(str(i) for i in range(min(count or 1, len(sections))))))

    def query(
        self,
        sections: Sequence[str],
        place: int,
        *,
        earlier: Sequence[tuple[int, str]] = (),  # noqa: ARG002 the protocol's
        language: str = "",  # noqa: ARG002 the protocol's
    ) -> Prompt:
        """The section itself describes its picture."""
        return (Text(sections[place]),)

    def choose(self, sections: Sequence[Section], candidates: Sequence[Picture]) -> Prompt:
        """Context and candidates, as they come."""
        return (*(Text(section.text) for section in sections), *candidates, Template("choose"))

    def describe(self, picture: Picture, *, language: str) -> Prompt:
        """A description that shows which picture was meant."""
        return (picture, Text(f"[{language}] {picture.key}"))

    def chat(self, turns: Sequence[Turn]) -> Prompt:
        """The last turn comes back."""
        parts: list[Part] = []
        for turn in turns:
            parts += [*turn.pictures, Text(turn.text)]
        return tuple(parts)

    def edit(self, change: Change, sections: Sequence[str], place: int, *, hint: str = "") -> Prompt:
        """The change, the section and the hint in one line."""
        return (Text(f"{change}: {sections[place]} {hint}".rstrip()),)

    def sampling(self, stage: Stage, *, seed: int = 0) -> Sampling:  # noqa: ARG002 the protocol's
        """Nothing is drawn."""
        return Sampling(seed=seed)

    def spot_form(self, free: Collection[int], *, count: int | None, apart: int) -> None:
        """The echo says what it is told."""

    def spots_in(self, answer: str, *, sections: int) -> tuple[int, ...]:
        """Reads numbers."""
        return tuple(sorted({int(word) for word in answer.split() if word.isdecimal() and int(word) < sections}))

    def query_in(self, answer: str) -> str:
        """Takes the answer as it is."""
        return answer.strip()


class EchoModel:
    """Answers with the last words of the prompt."""

    name = "echo"
    digest = ""
    capabilities = find_family(name).capabilities

    def __init__(self) -> None:
        self.prompts = EchoPrompts()

    def stream(self, prompt: Prompt, sampling: Sampling, *, cancelled: Callable[[], bool] = never) -> Iterator[str]:
        """Yields the last text of the prompt word by word."""
        texts = [part.text for part in prompt if isinstance(part, Text)]
        if not texts:
            raise ModelError("the prompt is empty: say something")
        for word in re.findall(r"\s*\S+\s*", texts[-1])[: sampling.max_new_tokens]:
            if cancelled():
                return
            yield word

    def choose(
        self,
        prompt: Prompt,  # noqa: ARG002 the protocol's
        options: Sequence[str],
        *,
        cancelled: Callable[[], bool] = never,  # noqa: ARG002 the protocol's
    ) -> Choice:
        """Halves the probability from option to option."""
        if not options:
            raise ModelError("there is nothing to choose from: offer at least one option")
        shares = [_FIRST_SHARE**i for i in range(len(options))]
        return Choice(tuple(share / sum(shares) for share in shares), mass=1.0)

    def count_tokens(self, prompt: Prompt) -> int:
        """Counts words, and one for everything else."""
        return sum(len(part.text.split()) if isinstance(part, Text | Template) else _one(part) for part in prompt)


def open_model(_: str, __: Runtime) -> EchoModel:
    """Returns the model; it needs nothing."""
    return EchoModel()


def _one(_: Picture | Control) -> int:
    return 1
