"""A composing model without weights, for tests of the services.

Its answers follow from the prompt alone, so a test can predict them: it repeats the last words of the user, prefers
the first option, and does not see images.
"""

import re
from collections.abc import Collection, Iterator, Sequence

from xcomp_model.base import (
    Brief,
    CancelCheck,
    Change,
    Choice,
    ImagePart,
    ModelFailure,
    Part,
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

_FIRST_SHARE = 0.5  # of the remaining probability, for each option in turn


class EchoPrompts:
    """Prompts whose last text part is a good answer to the stage."""

    version = "echo/1"
    candidates_at_once = 4

    def write(self, brief: Brief) -> Prompt:
        """Asks for the fields of the brief, one per line."""
        lines = (brief.title, brief.instruction, brief.requirements, *brief.outline.splitlines(), *brief.keywords)
        return (Text("\n".join(filter(None, (*lines, brief.material)))),)

    def spot(self, sections: Sequence[str], *, count: int | None = None, images: Sequence[ImagePart] = ()) -> Prompt:
        """Asks for the first `count` sections, or for the first one."""
        return (*images, Text(" ".join(str(i) for i in range(min(count or 1, len(sections))))))

    def query(
        self,
        sections: Sequence[str],
        section: int,
        *,
        earlier: Sequence[tuple[int, str]] = (),  # noqa: ARG002 the protocol's
        language: str = "",  # noqa: ARG002 the protocol's
    ) -> Prompt:
        """Asks for the section itself as the description."""
        return (Text(sections[section]),)

    def choose(self, sections: Sequence[Section], candidates: Sequence[ImagePart]) -> Prompt:
        """Lists the sections and the candidates."""
        return (*(Text(section.text) for section in sections), *candidates, Template("choose"))

    def describe(self, image: ImagePart, *, language: str) -> Prompt:
        """Asks for the key of the image."""
        return (image, Text(f"[{language}] {image.key}"))

    def chat(self, turns: Sequence[Turn]) -> Prompt:
        """Asks for the last turn."""
        parts: list[Part] = []
        for turn in turns:
            parts += [*turn.images, Text(turn.text)]
        return tuple(parts)

    def edit(self, change: Change, sections: Sequence[str], section: int, *, hint: str = "") -> Prompt:
        """Asks for the change, the section and the hint in one line."""
        return (Text(f"{change}: {sections[section]} {hint}".rstrip()),)

    def sampling(self, stage: Stage, *, seed: int = 0) -> Sampling:  # noqa: ARG002 the protocol's
        """Returns the default: nothing is drawn."""
        return Sampling(seed=seed)

    def spot_grammar(self, free: Collection[int], *, count: int | None, apart: int) -> None:
        """Returns None: the answer follows from the prompt."""

    def parse_spots(self, answer: str, *, sections: int) -> tuple[int, ...]:
        """Reads numbers."""
        return tuple(sorted({int(word) for word in answer.split() if word.isdecimal() and int(word) < sections}))

    def parse_query(self, answer: str) -> str:
        """Takes the answer as it is."""
        return answer.strip()


class EchoModel:
    """Answers with the last words of the prompt."""

    name = "echo"
    digest = ""
    capabilities = find_family(name).capabilities

    def __init__(self) -> None:
        self.prompts = EchoPrompts()

    def stream(self, prompt: Prompt, sampling: Sampling, *, is_cancelled: CancelCheck = never) -> Iterator[str]:
        """Yields the last text of the prompt word by word."""
        texts = [part.text for part in prompt if isinstance(part, Text)]
        if not texts:
            raise ModelFailure("the prompt is empty: say something")
        for word in re.findall(r"\s*\S+\s*", texts[-1])[: sampling.max_new_tokens]:
            if is_cancelled():
                return
            yield word

    def choose(
        self,
        prompt: Prompt,  # noqa: ARG002 the protocol's
        options: Sequence[str],
        *,
        is_cancelled: CancelCheck = never,  # noqa: ARG002 the protocol's
    ) -> Choice:
        """Halves the probability from option to option."""
        if not options:
            raise ModelFailure("there is nothing to choose from: offer at least one option")
        shares = [_FIRST_SHARE**i for i in range(len(options))]
        return Choice(tuple(share / sum(shares) for share in shares), mass=1.0)

    def count_tokens(self, prompt: Prompt) -> int:
        """Counts words, and one for each other part."""
        return sum(len(part.text.split()) if isinstance(part, Text | Template) else 1 for part in prompt)


def open_model(_: str, __: Runtime) -> EchoModel:
    """Returns the model; it needs no files and no libraries."""
    return EchoModel()
