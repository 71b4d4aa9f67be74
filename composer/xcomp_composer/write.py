"""Stages that only a language model can do: an article from an instruction, an answer to a question.

Pictures come later and from elsewhere. Errors of the model package become errors of the service here.
"""

from collections.abc import Callable, Iterator, Sequence

from xcomp_model import base
from xcomp_model.base import Brief, Prompt, Stage, Turn, VisionLanguageModel
from xcomp_protos.transport.errors import ModelError


def write(model: VisionLanguageModel, brief: Brief, *, seed: int, cancelled: Callable[[], bool]) -> Iterator[str]:
    """Yields the article as it is written.

    Raises:
        ModelError: the model failed or wrote nothing.
    """
    yield from _spoken(model, model.prompts.write(brief), "write", seed=seed, cancelled=cancelled)


def answer(
    model: VisionLanguageModel, turns: Sequence[Turn], *, seed: int, cancelled: Callable[[], bool]
) -> Iterator[str]:
    """Yields the answer to the last turn; raises like `write`."""
    yield from _spoken(model, model.prompts.chat(turns), "chat", seed=seed, cancelled=cancelled)


def _spoken(
    model: VisionLanguageModel, prompt: Prompt, stage: Stage, *, seed: int, cancelled: Callable[[], bool]
) -> Iterator[str]:
    has_words = False
    try:
        for piece in model.stream(prompt, model.prompts.sampling(stage, seed=seed), cancelled=cancelled):
            has_words = has_words or bool(piece.strip())
            yield piece
    except base.ModelError as error:
        raise ModelError(str(error)) from None
    if not has_words and not cancelled():
        raise ModelError(f"{model.name} wrote nothing: say more in the instruction, or try another seed")
