"""A composing model that sees and says what a test tells it to, stage by stage, and remembers what it was asked."""

from collections.abc import Callable, Iterator, Sequence

from xcomp_model.base import (
    Capabilities,
    Choice,
    ImagePart,
    ModelFailure,
    Prompt,
    Sampling,
    Section,
    Stage,
    Template,
    never,
)
from xcomp_model.echo import EchoModel, EchoPrompts

Line = str | ModelFailure  # an answer, or a failure


class ActorPrompts(EchoPrompts):
    """Prompts of the echo with the stage's name in front, so that the actor knows its cue."""

    version = "actor/1"

    def spot(self, sections: Sequence[str], *, count: int | None = None, images: Sequence[ImagePart] = ()) -> Prompt:
        return (Template("spot"), *super().spot(sections, count=count, images=images))

    def query(
        self, sections: Sequence[str], place: int, *, earlier: Sequence[tuple[int, str]] = (), language: str = ""
    ) -> Prompt:
        return (Template("query"), *super().query(sections, place, earlier=earlier, language=language))

    def choose(self, sections: Sequence[Section], candidates: Sequence[ImagePart]) -> Prompt:
        parts = (part for each in sections for part in (*super(ActorPrompts, self).choose([each], ()), each.image))
        return (Template("choose"), *(part for part in parts if part is not None), *candidates)

    def describe(self, image: ImagePart, *, language: str) -> Prompt:
        return (Template("describe"), *super().describe(image, language=language))

    def sampling(self, stage: Stage, *, seed: int = 0) -> Sampling:
        return Sampling(seed=seed, max_new_tokens=64)


class Actor(EchoModel):
    """Follows its lines; where it has none left, it answers as the echo does."""

    name = "actor"
    capabilities = Capabilities(sees=True, languages=frozenset({"en", "zh"}), logprobs=True, context_tokens=10**6)

    def __init__(self, **lines: Sequence[Line]) -> None:
        self.prompts = ActorPrompts()
        self.lines = {stage: list(said) for stage, said in lines.items()}
        self.choices: list[tuple[float, ...] | ModelFailure] = []
        self.mass = 0.9
        self.asked: list[tuple[str, Prompt]] = []
        self.on_choice: Callable[[], None] = lambda: None

    def stages(self) -> list[str]:
        """The stages asked for, in order."""
        return [stage for stage, _ in self.asked]

    def stream(self, prompt: Prompt, sampling: Sampling, *, is_cancelled: Callable[[], bool] = never) -> Iterator[str]:
        stage = prompt[0].text if isinstance(prompt[0], Template) else "chat"
        self.asked.append((stage, prompt))
        lines = self.lines.get(stage)
        if not lines:
            yield from super().stream(prompt, sampling, is_cancelled=is_cancelled)
            return
        line = lines.pop(0)
        if isinstance(line, ModelFailure):
            raise line
        yield line

    def choose(self, prompt: Prompt, options: Sequence[str], *, is_cancelled: Callable[[], bool] = never) -> Choice:
        self.asked.append(("choose", prompt))
        self.on_choice()
        if not self.choices:
            return super().choose(prompt, options)
        choice = self.choices.pop(0)
        if isinstance(choice, ModelFailure):
            raise choice
        return Choice(choice[: len(options)], self.mass)
